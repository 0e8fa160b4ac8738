//! Where tools from PyPI and npm are, beside those on the PATH.
