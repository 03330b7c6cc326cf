-- Papyrus' tables. Safe to repeat and meant to run inside one transaction that the caller begins and ends
-- (dry run: BEGIN … ROLLBACK). Roles and grants are not made here: they belong to whoever owns the database.

CREATE SCHEMA IF NOT EXISTS papyrus_schema;

CREATE TABLE IF NOT EXISTS papyrus_schema.products (
    sku        text PRIMARY KEY,
    name       text NOT NULL,
    unit_price numeric(12, 2) NOT NULL DEFAULT 0 CHECK (unit_price >= 0)
);

-- One row for each run and path proves that this run reached the database by that path.
CREATE TABLE IF NOT EXISTS papyrus_schema.run_marks (
    run_id       text NOT NULL CHECK (run_id <> ''),
    path         text NOT NULL CHECK (path IN ('app', 'cli')),
    task_arn     text,
    image_digest text,
    marked_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (run_id, path)
);
