"""``python -m caseunet`` is ``caseunet``; torchrun starts it so."""

from caseunet.cli import main

main()
