# Where the local AWS listens; set through TF_VAR_sandbox_endpoint by inventories/sandbox.

variable "sandbox_endpoint" {
  description = "URL of the local AWS."
  type        = string
}
