"""Records, their blobs, campaigns and workers; the log refuses UPDATE, DELETE, REPLACE and TRUNCATE."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_APPEND_ONLY = ("records", "record_blobs")
_REFUSAL = "the record log is append-only"


def upgrade() -> None:
    """Make everything."""
    _records()
    _record_blobs()
    _campaigns()
    _workers()
    if op.get_bind().dialect.name == "sqlite":
        _guard_sqlite()
    else:
        _guard_postgresql()


def downgrade() -> None:
    """Refuse: it would drop the log."""
    raise RuntimeError("there is no version before this one")


def _seq() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _records() -> None:
    op.create_table(
        "records",
        sa.Column("seq", _seq(), primary_key=True, autoincrement=False),
        sa.Column("id", sa.String(400), nullable=False, unique=True),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("schema_version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.String(40), nullable=False),
        sa.Column("campaign_id", sa.String(400)),
        sa.Column("device", sa.String(400)),
        sa.Column("model", sa.String(400)),
        sa.Column("variant_id", sa.String(400)),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("body_sha256", sa.String(64), nullable=False),
        sa.Column("previous_sha256", sa.String(64), nullable=False),
        sa.Column("record_sha256", sa.String(64), nullable=False),
    )
    for name, column in (
        ("kind", "kind"),
        ("campaign", "campaign_id"),
        ("device", "device"),
        ("model", "model"),
        ("variant", "variant_id"),
    ):
        op.create_index(f"records_{name}_seq", "records", [column, "seq"])


def _record_blobs() -> None:
    op.create_table(
        "record_blobs",
        sa.Column("record_seq", _seq(), sa.ForeignKey("records.seq"), primary_key=True, autoincrement=False),
        sa.Column("sha256", sa.String(64), primary_key=True),
        sa.Column("relation", sa.String(20), primary_key=True),
    )
    op.create_index("record_blobs_sha256", "record_blobs", ["sha256", "relation", "record_seq"])


def _campaigns() -> None:
    op.create_table(
        "campaigns",
        sa.Column("id", sa.String(400), primary_key=True),
        sa.Column("name", sa.String(400), nullable=False),
        sa.Column("created_at", sa.String(40), nullable=False),
        sa.Column("updated_at", sa.String(40), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("lab_host", sa.String(400), nullable=False),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("progress", sa.Text(), nullable=False),
    )
    op.create_index("campaigns_created", "campaigns", ["created_at"])


def _workers() -> None:
    op.create_table(
        "workers",
        sa.Column("lab_host", sa.String(400), primary_key=True),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.String(40), nullable=False),
        sa.Column("heartbeat_at", sa.String(40), nullable=False),
        sa.Column("version", sa.String(100), nullable=False),
    )


def _guard_sqlite() -> None:
    for table in _APPEND_ONLY:
        for verb in ("UPDATE", "DELETE"):
            op.execute(f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END")
    # INSERT OR REPLACE deletes the old row without firing its DELETE trigger
    op.execute(
        "CREATE TRIGGER records_no_replace BEFORE INSERT ON records "
        "WHEN EXISTS (SELECT 1 FROM records WHERE id = NEW.id OR seq = NEW.seq) "
        "BEGIN SELECT RAISE(ABORT, 'a record of this id or seq exists'); END"
    )


def _guard_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION thresher_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{_REFUSAL}' USING ERRCODE = 'integrity_constraint_violation'; END $$"
    )
    for table in _APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION thresher_append_only()"
        )
