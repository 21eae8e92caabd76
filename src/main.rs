//! The `changeling` command.

fn main() {}
