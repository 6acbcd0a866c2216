"""How the command-line programs speak to people: words, tables, cards, sentences. Shared by nanoctl and nano-replay."""
