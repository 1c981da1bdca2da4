"""How many links each platform holds at most, so that they need not be counted for each new one."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds a column, with the links that are there already."""
    op.add_column("platforms", sa.Column("links", sa.BigInteger(), nullable=False, server_default="0"))
    links, platforms = sa.table("links", sa.column("platform_id")), sa.table("platforms", sa.column("id"))
    held = sa.select(sa.func.count()).where(links.c.platform_id == platforms.c.id).scalar_subquery()
    op.execute(sa.update(sa.table("platforms", sa.column("id"), sa.column("links"))).values(links=held))
