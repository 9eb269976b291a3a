"""``python -m drpass`` is the ``drpass`` script."""

from drpass.cli import main

main()
