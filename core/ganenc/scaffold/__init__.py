"""Packages for plugins to begin with: each installs, passes its tests and works as it is. Imports no torch."""

from ganenc.scaffold.kinds import SCAFFOLDS
from ganenc.scaffold.names import Names
from ganenc.scaffold.writing import LICENCES, write_plugin

__all__ = ["LICENCES", "SCAFFOLDS", "Names", "write_plugin"]
