"""How annotations are checked: an int is welcome where a float is, as Python's typing has it."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
