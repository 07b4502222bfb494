"""Migrations: the scripts with which alembic creates and changes nsqkit's tables."""
