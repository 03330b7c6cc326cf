#!/usr/bin/env bash
# A smoke test of an ECS service through a temporary ALB, as one writes it with terraform, aws, jq, curl and psql.
# What bench/smoke.py measures alb_smoke.yml against. It asks the preflight's questions all at once, as the playbook does,
# and destroys whatever happens. It has no guard, lease, ECS Exec, chain of identity, or evidence.
#
# Environment: AWS_* of the SDK; STACK, a folder with 20-alb and its tfvars; CLUSTER, SERVICE, SECRET, DATABASE, TASKS_SG,
# SUBNETS (with commas), PORT, HEADER (name: value), CA_FILE, TERRAFORM; CONNECT_TO (curl --connect-to) where names resolve nowhere.
# Prints "preflight" and "rest" with milliseconds; exit code 0 when every answer was as it should be.
set -euo pipefail
work=$(mktemp -d)
began=$(date +%s%3N)

note() { printf '%s  %s\n' "$(date -u +%H:%M:%S)" "$*" >&2; }
fail() { note "FAILED: $*"; return 1; }

caller_and_terraform() {
    aws sts get-caller-identity --output json >"$work/caller.json"
    "$TERRAFORM" version -json >"$work/terraform.json"
}

service_is_steady() {
    aws ecs describe-services --cluster "$CLUSTER" --services "$SERVICE" --output json >"$work/service.json"
    jq -e '.services[0] | .desiredCount >= 1 and .desiredCount == .runningCount and (.deployments | length) == 1
           and .enableExecuteCommand' "$work/service.json" >/dev/null || fail "the service is not steady, or without Exec"
    aws ecs describe-task-definition --task-definition "$(jq -r '.services[0].taskDefinition' "$work/service.json")" \
        --output json >"$work/definition.json"
    jq -e '[.taskDefinition.containerDefinitions[].environment[] | select(.name == "PGSSLMODE") | .value]
           | inside(["require", "verify-ca", "verify-full"])' "$work/definition.json" >/dev/null || fail "PGSSLMODE"
    aws ecs describe-tasks --cluster "$CLUSTER" --output json --tasks "$(aws ecs list-tasks --cluster "$CLUSTER" \
        --service-name "$SERVICE" --desired-status RUNNING --query 'taskArns[0]' --output text)" >"$work/task.json"
    jq -e '[.tasks[0].containers[].managedAgents[]? | select(.name == "ExecuteCommandAgent") | .lastStatus] == ["RUNNING"]' \
        "$work/task.json" >/dev/null || fail "the agent of ECS Exec does not run"
}

database_is_as_it_should_be() {
    aws rds describe-db-instances --db-instance-identifier "$DATABASE" --output json >"$work/database.json"
    jq -e '.DBInstances[0].DBInstanceStatus == "available"' "$work/database.json" >/dev/null || fail "the database"
    group=$(jq -r '.DBInstances[0].DBParameterGroups[0].DBParameterGroupName' "$work/database.json")
    aws rds describe-db-parameters --db-parameter-group-name "$group" --output json >"$work/parameters.json"
    jq -e '[.Parameters[] | select(.ParameterName == "rds.force_ssl") | .ParameterValue] == ["1"]' \
        "$work/parameters.json" >/dev/null || fail "rds.force_ssl"
    aws ec2 describe-security-groups --output json \
        --group-ids "$(jq -r '.DBInstances[0].VpcSecurityGroups[0].VpcSecurityGroupId' "$work/database.json")" >"$work/open.json"
}

secret_fits() {
    umask 077
    aws secretsmanager get-secret-value --secret-id "$SECRET" --query SecretString --output text >"$work/secret.json"
    sql 'SELECT 1' >/dev/null || fail "the secret does not log in"
}

subnets_suit() {
    IFS=, read -ra ids <<<"$SUBNETS"
    aws ec2 describe-subnets --subnet-ids "${ids[@]}" --output json >"$work/subnets.json"
    jq -e '[.Subnets[].AvailabilityZone] | unique | length >= 2' "$work/subnets.json" >/dev/null || fail "one zone"
    aws ec2 describe-route-tables --filters "Name=association.subnet-id,Values=$SUBNETS" --output json >"$work/routes.json"
    jq -e '[.RouteTables[].Routes[].GatewayId // "" | select(startswith("igw-"))] | length > 0' "$work/routes.json" \
        >/dev/null || fail "no internet gateway"
}

sql() {
    PGPASSWORD=$(jq -r .password "$work/secret.json") psql --no-psqlrc --tuples-only --no-align --command "$1" \
        "host=$(jq -r .host "$work/secret.json") port=$(jq -r .port "$work/secret.json") \
         dbname=$(jq -r .dbname "$work/secret.json") user=$(jq -r .username "$work/secret.json") \
         sslmode=verify-full sslrootcert=$CA_FILE"
}

ask() { # path, expected status, with the header or not
    curl --silent --show-error --max-time 10 ${CONNECT_TO:+--connect-to "$CONNECT_TO"} --write-out '%{http_code}' \
        --output "$work/body" ${3:+--header "$HEADER"} "$url$1" >"$work/status"
    [ "$(cat "$work/status")" = "$2" ] || fail "$1 answered $(cat "$work/status")"
}

cleanup() {
    code=$?
    trap '' INT TERM
    if [ -d "$STACK/.terraform" ]; then
        note "destroy"
        "$TERRAFORM" -chdir="$STACK" destroy -auto-approve -input=false -no-color >"$work/destroy.log" || code=1
        aws elbv2 describe-load-balancers --names "$(jq -r .name "$STACK/run.auto.tfvars.json")" >/dev/null 2>&1 && code=1
    fi
    [ "$code" = 0 ] || tail -n 5 "$work"/*.log >&2 || true
    rm -rf "$work"
    begin_of_rest=${begin_of_rest:-$began}
    echo "preflight $((begin_of_rest - began))"
    echo "rest $(($(date +%s%3N) - begin_of_rest))"
    exit "$code"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

note "preflight"
waiting=()
for question in caller_and_terraform service_is_steady database_is_as_it_should_be secret_fits subnets_suit; do
    "$question" &
    waiting+=($!)
done
for pid in "${waiting[@]}"; do wait "$pid"; done
begin_of_rest=$(date +%s%3N)

note "apply"
"$TERRAFORM" -chdir="$STACK" init -input=false -no-color >"$work/init.log"
"$TERRAFORM" -chdir="$STACK" apply -auto-approve -input=false -no-color >"$work/apply.log"
"$TERRAFORM" -chdir="$STACK" output -json >"$work/outputs.json"
targets=$(jq -r .target_group_arn.value "$work/outputs.json")
url=$(jq -r .url.value "$work/outputs.json")

note "register and wait"
address=$(jq -r '.tasks[0].attachments[].details[] | select(.name == "privateIPv4Address") | .value' "$work/task.json")
aws elbv2 register-targets --target-group-arn "$targets" --targets "Id=$address,Port=$PORT"
aws elbv2 wait target-in-service --target-group-arn "$targets" --targets "Id=$address,Port=$PORT"

note "probe"
ask /healthz 200 header
jq -e '.ok' "$work/body" >/dev/null
ask "/dbcheck?run=$(jq -r .run_id "$STACK/run.auto.tfvars.json")" 200 header
jq -e '.inserted' "$work/body" >/dev/null
ask /healthz 403
sql "SELECT sku, name, unit_price FROM papyrus_schema.products WHERE sku = 'SKU-APP'" | grep -qxE 'SKU-APP\|health\|0(\.00)?' \
    || fail "the row is not there"
note "well"
