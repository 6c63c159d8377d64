//! The configuration file: its form, defaults, and errors that name the line.
