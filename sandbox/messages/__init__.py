"""Messages between services: who may send to whom, and delivery of SNS notifications."""
