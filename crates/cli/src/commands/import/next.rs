//! What a user does after an import: how the program that reads the file gets its values now.

use std::path::Path;

use keyway_secrets::Id;

use super::formats::{Field, Format, Replacement};

/// Returns the steps for one file, each a sentence without its full stop.
pub(super) fn steps(format: Format, path: &Path, moved: &[(&Field, &Id)]) -> Vec<String> {
    let path = quoted(&path.display().to_string());
    match format {
        Format::Env => vec![format!("Start the program with `keyway run --env-file {path} -- COMMAND`")],
        Format::Shell => vec![
            "The script asks the daemon for the values when it runs: `keyway serve` must be running".to_owned(),
        ],
        Format::Netrc => vec![format!("Run curl with `curl --netrc-file <(keyway inject {path}) URL`")],
        Format::Pypirc => moved.iter().map(|(field, id)| pypirc(field, id, &path)).collect(),
        Format::Npmrc => vec![npmrc(moved)],
        Format::Aws => vec!["Check with `aws sts get-caller-identity`; programs of AWS run the command in the file".to_owned()],
        Format::GitCredentials => {
            let store = "Remove git's own store, which would write the passwords to the file again: `git config --global --unset-all credential.helper '^store'`";
            let helpers = moved.iter().map(|(field, id)| git(field, id));
            std::iter::once(store.to_owned()).chain(helpers).collect()
        }
    }
}

fn pypirc(field: &Field, id: &Id, path: &str) -> String {
    match (field.key.as_str(), field.path.get(1)) {
        ("password", Some(index)) => {
            let index = quoted(index);
            format!(
                "Upload with `TWINE_PASSWORD=se://{id} keyway run -- twine upload --repository {index} dist/*`"
            )
        }
        _ => format!("`keyway inject {path}` prints the file with the value of {id}"),
    }
}

fn npmrc(moved: &[(&Field, &Id)]) -> String {
    let variables = moved
        .iter()
        .filter_map(|(field, id)| match &field.replacement {
            Replacement::Variable(name) => Some(format!("{name}=se://{id} ")),
            _ => None,
        });
    format!(
        "Run npm with `{}keyway run -- npm install`",
        variables.collect::<String>()
    )
}

/// The helper that git calls for the password of a host.
fn git(field: &Field, id: &Id) -> String {
    let host = field.path.get(1).map_or("HOST", String::as_str);
    let answer = match field.path.get(2) {
        Some(user) => format!(
            "echo username={} && echo \"password=$(keyway get {id})\"",
            quoted(user)
        ),
        None => format!("echo \"username=$(keyway get {id})\" && echo password=x-oauth-basic"),
    };
    format!(
        "Let git ask Keyway: `git config --global credential.https://{}.helper '!f() {{ test \"$1\" = get && {answer}; }}; f'`",
        quoted(host)
    )
}

/// Returns a word for a shell, in which a text with special characters becomes a placeholder.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./:@+~,=".contains(c);
    match text.chars().all(is_plain) && !text.is_empty() {
        true => text.to_owned(),
        false => "NAME".to_owned(),
    }
}
