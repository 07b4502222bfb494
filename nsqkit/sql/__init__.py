"""SQL: effects that happen once, in the database of a team; needs the extra ``nsqkit[sql]``."""

try:
    from nsqkit.sql import outbox
    from nsqkit.sql.database import Database
    from nsqkit.sql.writer import OutboxWriter
except ModuleNotFoundError as error:
    if "sqlalchemy" not in str(error.name):
        raise
    raise ModuleNotFoundError(
        "nsqkit.sql needs SQLAlchemy: pip install 'nsqkit[sql]'", name=error.name
    ) from None

__all__ = ["Database", "OutboxWriter", "outbox"]
