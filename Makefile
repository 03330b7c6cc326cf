# papyrus.ops: the commands of the checkout. `make help` lists them.
.DEFAULT_GOAL := help
SHELL := /bin/sh
# Ansible refuses a locale that the machine does not have, as a new Debian that is reached by ssh.
export LC_ALL := C.UTF-8
.PHONY: help smoke verify test soak lint bench sandbox-up sandbox-down sandbox-status sandbox-env stacks lock clean

help: ## list the commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 24

smoke: ## local AWS up, base stacks applied, image pushed, the smoke run, its evidence printed
	@scripts/bootstrap product && scripts/smoke

# Make's own exit code is 2 for every failure; scripts/verify tells tampered (2), incomplete (3) and mismatch (4) apart.
verify: ## verify evidence: BUNDLE=docs/evidence/runs/… KEY=public.pem (of the local AWS by default) ARGS="--image …"
	@test -n "$(BUNDLE)" || { echo 'usage: make verify BUNDLE=docs/evidence/runs/RUN [KEY=PUBLIC.pem] [ARGS="--help"]' >&2; exit 1; }
	@scripts/bootstrap product
	@key="$(KEY)"; own=$${PAPYRUS_SANDBOX_ROOT:-.}/.sandbox/evidence/signing-key.pub.pem; \
	if [ -z "$$key" ] && [ -f "$$own" ]; then key=$$own; echo "No KEY given: taking the public key of the local AWS, $$own" >&2; fi; \
	scripts/verify $(BUNDLE) $${key:+--key "$$key"} $(ARGS)

test: ## everything that CI checks: lint, unit, local AWS, end to end, molecule
	@scripts/bootstrap dev && scripts/test

soak: ## the long matrices: every fault and every interrupt (by hand; bounded)
	@scripts/bootstrap dev && scripts/test soak

lint: ## static checks
	@scripts/bootstrap dev && scripts/lint

bench: ## the smoke against bare Terraform and a script by hand, in a local AWS of its own: ARGS="--times 3"
	@scripts/bootstrap dev && scripts/bench $(ARGS)

sandbox-up: ## start the local AWS
	@scripts/bootstrap product && scripts/sandbox up

sandbox-down: ## end the local AWS and everything that it started; its state stays
	@scripts/sandbox down

sandbox-status: ## say whether the local AWS runs, and what runs in it
	@scripts/sandbox status

sandbox-env: ## print export lines: eval "$$(make -s sandbox-env)"
	@scripts/sandbox env

stacks: ## apply the permanent stacks to the local AWS
	@scripts/bootstrap product && scripts/sandbox up && scripts/stacks

lock: ## make the hashed locks anew
	@scripts/bootstrap product && scripts/lock

clean: ## end the local AWS and remove everything that the commands above made
	@scripts/sandbox down && rm -rf .sandbox .venv docs/evidence/runs docs/evidence/ledger
