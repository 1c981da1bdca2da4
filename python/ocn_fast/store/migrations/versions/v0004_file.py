"""Which file the registry was taken from, so that a start need not read the same one again."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_TABLES = (
    "registry_state",
    "registry_operators",
    "registry_parties",
    "registry_services",
    "registry_agreements",
)


def upgrade() -> None:
    """Adds a table, and triggers that empty it whenever anything of the registry is written, by whomever."""
    op.create_table(
        "registry_file",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    for table in _TABLES:
        for verb in ("insert", "update", "delete"):
            forget = "DELETE FROM registry_file;"
            op.execute(f"CREATE TRIGGER {table}_{verb} AFTER {verb} ON {table} BEGIN {forget} END")
