"""Python imports this file when it starts: it installs a strike in the processes that Ray starts."""

from tests.faults.strikes import install_from_environment

install_from_environment()
