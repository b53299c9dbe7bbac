//! Tests of the rules: each breaks a sound plan in one way.
