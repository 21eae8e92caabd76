//! Finds and reads the rule files that a configuration names.

use std::io;
use std::path::{Path, PathBuf};

use crate::yaml::SourceFile;

/// Why rule files can not be read.
#[derive(Debug, thiserror::Error)]
pub enum RuleFilesError {
    /// A file or folder is not there, or may not be read.
    #[error("the rules {path} can not be read\nhelp: a path of rules is relative to the folder of the configuration", path = path.display())]
    Unreadable {
        /// The path, as it would be opened.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A folder holds no rule file.
    #[error("the folder {path} holds no rule files\nhelp: rule files end in .yaml or .yml", path = path.display())]
    Empty {
        /// The folder.
        path: PathBuf,
    },
}

/// Every rule file that `paths` name, in order: a file is taken as it is; of a folder every `*.yaml` and `*.yml` in it and
/// below it, sorted by path; names that begin with a dot are skipped. A file that is named twice is read once.
///
/// # Errors
/// For every path that gives no file, one, with its index in `paths`.
pub(super) fn read<P: AsRef<Path>>(
    paths: impl IntoIterator<Item = P>,
) -> (Vec<SourceFile>, Vec<(usize, RuleFilesError)>) {
    let (mut files, mut errors) = (Vec::<SourceFile>::new(), Vec::new());
    for (index, path) in paths.into_iter().enumerate() {
        let path = path.as_ref();
        let mut found = Vec::new();
        if let Err(source) = find(path, &mut found) {
            errors.push((index, source));
            continue;
        }
        if found.is_empty() {
            errors.push((index, RuleFilesError::Empty { path: path.to_owned() }));
        }
        for path in found {
            let name = path.display().to_string();
            if files.iter().any(|file| file.name == name) {
                continue;
            }
            match std::fs::read_to_string(&path) {
                Ok(text) => files.push(SourceFile { name, text }),
                Err(source) => errors.push((index, RuleFilesError::Unreadable { path, source })),
            }
        }
    }
    (files, errors)
}

fn find(path: &Path, found: &mut Vec<PathBuf>) -> Result<(), RuleFilesError> {
    let unreadable = |source| RuleFilesError::Unreadable { path: path.to_owned(), source };
    if !std::fs::metadata(path).map_err(unreadable)?.is_dir() {
        found.push(path.to_owned());
        return Ok(());
    }
    let entries = std::fs::read_dir(path).and_then(|entries| entries.collect::<io::Result<Vec<_>>>());
    let mut entries = entries.map_err(unreadable)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let name = entry.file_name();
        let is_hidden = name.to_string_lossy().starts_with('.');
        let is_rule_file = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        // A folder behind a symbolic link is followed only if it is named itself: links can go round in circles.
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if !is_hidden && is_folder {
            find(&path, found)?;
        } else if !is_hidden && is_rule_file && path.is_file() {
            found.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_gives_its_yaml_files_sorted_and_without_hidden_ones() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir(path("b")).unwrap();
        std::fs::create_dir(path(".git")).unwrap();
        for name in ["c.yaml", "a.yml", "b/x.yaml", "b/notes.txt", ".hidden.yaml", ".git/y.yaml"] {
            std::fs::write(path(name), name).unwrap();
        }
        let (files, errors) = read([folder.path(), path("c.yaml").as_path()]);
        assert!(errors.is_empty());
        assert_eq!(files.iter().map(|file| file.text.as_str()).collect::<Vec<_>>(), ["a.yml", "b/x.yaml", "c.yaml"]);
    }

    #[test]
    fn a_path_without_rules_is_an_error_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let (files, errors) = read([folder.path().join("none"), folder.path().to_owned()]);
        assert!(files.is_empty());
        let texts: Vec<String> = errors.iter().map(|(_, error)| error.to_string()).collect();
        assert!(texts[0].contains("can not be read"), "{texts:?}");
        assert!(texts[1].contains("holds no rule files"), "{texts:?}");
    }
}
