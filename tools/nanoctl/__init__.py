"""nanoctl: the command line of a zone. ``main.py`` is the program, ``grammar.py`` says which nouns and verbs there are."""
