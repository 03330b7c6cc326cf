# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One SQL query that fingerprints what a database is: equal before and after means that no definition changed."""

from __future__ import annotations

# Whole rows: whatever a statement changes in a definition changes a row of these. They can be read by every role.
# https://www.postgresql.org/docs/current/catalogs.html (all of these exist since PostgreSQL 12)
_WHOLE = """
    pg_aggregate pg_am pg_amop pg_amproc pg_auth_members pg_cast pg_collation pg_conversion pg_db_role_setting
    pg_default_acl pg_description pg_enum pg_event_trigger pg_extension pg_foreign_data_wrapper pg_foreign_server
    pg_foreign_table pg_inherits pg_language pg_largeobject_metadata pg_opclass pg_operator pg_opfamily
    pg_partitioned_table pg_policy pg_proc pg_publication pg_publication_rel pg_range pg_rewrite pg_roles pg_seclabel
    pg_sequence pg_shdescription pg_shseclabel pg_statistic_ext pg_tablespace pg_transform pg_trigger pg_ts_config
    pg_ts_config_map pg_ts_dict pg_ts_parser pg_ts_template pg_user_mappings
"""

# Temporary tables are nobody's definition; neither are the rows that hang on them.
_LASTING_SCHEMA = "nspname !~ '^pg_(toast_)?temp_'"
_LASTING = "NOT EXISTS (SELECT 1 FROM pg_catalog.pg_class AS c WHERE c.oid = {} AND c.relpersistence = 't')"
_IN_SCHEMA = (
    "EXISTS (SELECT 1 FROM pg_catalog.pg_namespace AS n WHERE n.oid = typnamespace AND n." + _LASTING_SCHEMA + ")"
)
_SOME = {
    "pg_namespace": _LASTING_SCHEMA,
    "pg_attribute": _LASTING.format("attrelid"),
    "pg_attrdef": _LASTING.format("adrelid"),
    "pg_constraint": _LASTING.format("conrelid"),
    "pg_index": _LASTING.format("indexrelid"),
    "pg_type": _IN_SCHEMA,
}

# Made anew by DROP … IF EXISTS and CREATE, as which they are written where they have no OR REPLACE: the same but for
# their number.
_REMADE = {
    "pg_attrdef",
    "pg_constraint",
    "pg_default_acl",
    "pg_policy",
    "pg_publication_rel",
    "pg_rewrite",
    "pg_trigger",
}

# Not the columns which VACUUM and ANALYZE keep; a new file (TRUNCATE, REFRESH, CLUSTER) is a change.
_CLASS = (
    "relname, relnamespace, reltype, reloftype, relowner, relam, relfilenode, reltablespace, relisshared, "
    "relpersistence, relkind, relnatts, relchecks, relrowsecurity, relforcerowsecurity, relispopulated, relreplident, "
    "relispartition, relacl, reloptions, relpartbound"
)


def _hashed(name: str, where: str = "true", text: str = "") -> str:
    text = text or ("(pg_catalog.to_jsonb(r) - 'oid')::text" if name in _REMADE else "r::text")
    return f"SELECT '{name}' AS name, pg_catalog.md5({text}) AS line FROM pg_catalog.{name} AS r WHERE {where}"


def catalogue_query() -> str:
    """A query with one row and one text column. It names everything by its schema, whatever the search path is."""
    parts = [_hashed(name) for name in _WHOLE.split()]
    parts += [_hashed(name, where) for name, where in _SOME.items()]
    parts.append(_hashed("pg_class", "relpersistence <> 't'", f"ROW({_CLASS})::text"))
    return (
        'SELECT pg_catalog.md5(pg_catalog.string_agg(name || line, \',\' ORDER BY name COLLATE "C", line COLLATE "C")) '
        f"AS fingerprint FROM ({' UNION ALL '.join(parts)}) AS catalogue"
    )
