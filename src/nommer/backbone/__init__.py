"""The network as published: stem, stages, blocks, contexts, nominator; in the order of the data."""

import timm.models  # noqa: F401 - with it `nommer.registration` puts ours into timm's registry
