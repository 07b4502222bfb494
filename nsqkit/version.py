"""The version of nsqkit, as installed."""

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("nsqkit")
except PackageNotFoundError:  # run from a checkout that is not installed
    VERSION = "0+unknown"
