//! `changeling schema`: the JSON Schema of a file, for editors.

use clap::ValueEnum;

use super::{Failure, Verdict, findings};

/// Print the JSON Schema of rule files or of the configuration
#[derive(Debug, clap::Args)]
#[command(after_help = "Editors with a YAML language server complete and check the files by it.\n\nExample:\n  \
        changeling schema rules > .changeling/rules.schema.json\n  \
        # yaml-language-server: $schema=.changeling/rules.schema.json   (first line of a rule file)")]
pub struct Schema {
    /// Of what
    #[arg(value_enum)]
    of: SchemaOf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SchemaOf {
    /// A rule file.
    Rules,
    /// The configuration, changeling.yaml.
    Config,
}

impl Schema {
    /// Prints the schema.
    pub fn run(&self) -> Result<Verdict, Failure> {
        let schema = match self.of {
            SchemaOf::Rules => changeling::rules::schema(),
            SchemaOf::Config => changeling::config::editor_schema(),
        };
        findings::print_json(&schema)?;
        Ok(Verdict::Yes)
    }
}
