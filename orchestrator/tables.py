"""The tables of the farm's database, as the newest migration leaves them.

DBOS keeps its own tables beside them (on SQLite in the same file, on PostgreSQL in the schema `dbos`); no name is shared.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, MetaData, String, Table, Text

HEAD = "0001"
"""The newest migration; `database.open_database` compares it before it loads Alembic."""

VERSION_TABLE = "thresher_version"

METADATA = MetaData()

_SEQ = BigInteger().with_variant(Integer, "sqlite")  # on SQLite only INTEGER is the row id itself

RECORDS = Table(
    "records",
    METADATA,
    Column("seq", _SEQ, primary_key=True, autoincrement=False),
    Column("id", String(400), nullable=False, unique=True),
    Column("kind", String(20), nullable=False),
    Column("schema_version", Integer, nullable=False),
    Column("created_at", String(40), nullable=False),
    Column("campaign_id", String(400)),
    Column("device", String(400)),
    Column("model", String(400)),
    Column("variant_id", String(400)),
    Column("body", Text, nullable=False),
    Column("body_sha256", String(64), nullable=False),
    Column("previous_sha256", String(64), nullable=False),
    Column("record_sha256", String(64), nullable=False),
    Index("records_kind_seq", "kind", "seq"),
    Index("records_campaign_seq", "campaign_id", "seq"),
    Index("records_device_seq", "device", "seq"),
    Index("records_model_seq", "model", "seq"),
    Index("records_variant_seq", "variant_id", "seq"),
)

RECORD_BLOBS = Table(
    "record_blobs",
    METADATA,
    Column("record_seq", _SEQ, ForeignKey("records.seq"), primary_key=True, autoincrement=False),
    Column("sha256", String(64), primary_key=True),
    Column("relation", String(20), primary_key=True),
    Index("record_blobs_sha256", "sha256", "relation", "record_seq"),
)

CAMPAIGNS = Table(
    "campaigns",
    METADATA,
    Column("id", String(400), primary_key=True),
    Column("name", String(400), nullable=False),
    Column("created_at", String(40), nullable=False),
    Column("updated_at", String(40), nullable=False),
    Column("status", String(20), nullable=False),
    Column("lab_host", String(400), nullable=False),
    Column("spec", Text, nullable=False),
    Column("cancel_requested", Boolean, nullable=False),
    Column("progress", Text, nullable=False),
    Index("campaigns_created", "created_at"),
)

WORKERS = Table(
    "workers",
    METADATA,
    Column("lab_host", String(400), primary_key=True),
    Column("pid", Integer, nullable=False),
    Column("started_at", String(40), nullable=False),
    Column("heartbeat_at", String(40), nullable=False),
    Column("version", String(100), nullable=False),
)
