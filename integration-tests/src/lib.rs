//! Placeholder: the essay comes with the code.
