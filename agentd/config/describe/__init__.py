"""Options as people read them: the reference, the annotated file, the effective settings, the schema for editors.

Reads the source of plugins, so it is for the command line and the documents alone.
"""

from collections.abc import Iterable

from agentd.config.describe.options import Option, options
from agentd.config.describe.sample import default_file, sample
from agentd.config.describe.schema import schema
from agentd.config.describe.show import show
from agentd.options import Config

Entry = tuple[str, str, str, type[Config]]
"""A plugin as these functions take it: kind (``collectors``), name, docstring, and the class of its options."""

Entries = Iterable[Entry]

__all__ = ["Entries", "Entry", "Option", "default_file", "options", "sample", "schema", "show"]
