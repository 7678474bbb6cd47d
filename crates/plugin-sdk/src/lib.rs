//! Write a Keyway secrets plugin: implement one trait and call run.
