//! Model values to Cap'n Proto and back; total: what cannot be understood is an error that names the field.
