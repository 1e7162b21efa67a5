//! The log on local disk: every emergency is there first, and in PostgreSQL as soon as that answers.
