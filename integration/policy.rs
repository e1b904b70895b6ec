//! The written rules that can be checked by reading the sources.
