use super::*;
use proptest::prelude::*;

const ALL: [Format; 7] = [
    Format::Env,
    Format::Shell,
    Format::Netrc,
    Format::Npmrc,
    Format::Pypirc,
    Format::GitCredentials,
    Format::Aws,
];

fn parse(format: Format, text: &str) -> Parsed {
    format.parse(text.as_bytes()).unwrap()
}

/// Line, name and value of each field.
fn fields(format: Format, text: &str) -> Vec<(usize, String, String)> {
    let fields = parse(format, text).fields.into_iter();
    let value = |field: &Field| String::from_utf8_lossy(field.value.expose()).into_owned();
    fields
        .map(|field| (field.line, field.name.clone(), value(&field)))
        .collect()
}

#[track_caller]
fn check_fields(format: Format, text: &str, expected: &[(usize, &str, &str)]) {
    let found = fields(format, text);
    let found: Vec<_> = found
        .iter()
        .map(|(line, name, value)| (*line, name.as_str(), value.as_str()))
        .collect();
    assert_eq!(found, expected);
}

/// The text with each field moved to the id `id/N`, counted from 0, whose value `is_moved`.
fn moved(format: Format, text: &str, is_moved: impl Fn(&Field) -> bool) -> String {
    let parsed = parse(format, text);
    let ids: Vec<Id> = (0..parsed.fields.len())
        .map(|n| format!("id/{n}").parse().unwrap())
        .collect();
    let chosen = parsed
        .fields
        .iter()
        .zip(&ids)
        .filter(|(field, _)| is_moved(field));
    String::from_utf8(rewrite(text.as_bytes(), chosen).to_vec()).unwrap()
}

#[test]
fn formats_follow_from_names() {
    let format = |path: &str| Format::of_path(Path::new(path));
    for (path, expected) in [
        ("a/.env", Format::Env),
        (".env.production", Format::Env),
        ("prod.env", Format::Env),
        (".envrc", Format::Shell),
        ("deploy.sh", Format::Shell),
        (".netrc", Format::Netrc),
        (".npmrc", Format::Npmrc),
        (".pypirc", Format::Pypirc),
        (".git-credentials", Format::GitCredentials),
        ("x/.config/git/credentials", Format::GitCredentials),
        ("x/.aws/credentials", Format::Aws),
    ] {
        assert_eq!(format(path), Some(expected), "{path}");
    }
    for path in [
        "credentials",
        "x/credentials",
        "env",
        "sh",
        ".envx",
        "a.json",
        "/",
        "publish",
    ] {
        assert_eq!(format(path), None, "{path}");
    }
}

#[test]
fn an_env_file_keeps_comments_quotes_and_line_ends() {
    let text = "\u{feff}# c\r\nA=x # A\r\n\r\nexport B='y z'\r\nC=\"1\\n\n2\" # C\nD=";
    check_fields(
        Format::Env,
        text,
        &[
            (2, "A", "x"),
            (4, "B", "y z"),
            (5, "C", "1\n\n2"),
            (7, "D", ""),
        ],
    );
    assert_eq!(
        moved(Format::Env, text, |field| !field.value.is_empty()),
        "\u{feff}# c\r\nA=se://id/0 # A\r\n\r\nexport B='se://id/1'\r\nC=\"se://id/2\" # C\nD="
    );
}

#[test]
fn values_with_other_variables_are_expanded() {
    let roles = |format, text: &str| -> Vec<Role> {
        parse(format, text)
            .fields
            .iter()
            .map(|field| field.role)
            .collect()
    };
    let (expanded, unknown) = (Role::Expanded, Role::Unknown);
    assert_eq!(
        roles(Format::Env, "A=${B}\nB='${B}'\nC=\"$(x)\"\nD=`x`\nE=$B\n"),
        [expanded, unknown, expanded, unknown, unknown]
    );
    assert_eq!(
        roles(
            Format::Shell,
            "A=$B\nB='$B'\nC=\"x$B\"\nD=\"\\$B\"\nE=\"100$ \"\n"
        ),
        [expanded, unknown, expanded, unknown, unknown]
    );
}

#[test]
fn only_the_password_of_a_url_is_moved_out_of_an_env_file() {
    let text = "DATABASE_URL=postgres://a:p%40s@h/x # c\nB='redis://:q@h'\nC=\"x://a:\\$@h\"\nD=x://a:${B}@h\nE=x://a:se://b/c@h\n";
    check_fields(
        Format::Env,
        text,
        &[
            (1, "password in DATABASE_URL", "p%40s"),
            (2, "password in B", "q"),
            (3, "C", "x://a:$@h"),
            (4, "D", ""),
            (5, "E", "x://a:se://b/c@h"),
        ],
    );
    assert_eq!(
        moved(Format::Env, text, |field| matches!(
            field.role,
            Role::Secret(_)
        )),
        "DATABASE_URL=postgres://a:se://id/0@h/x # c\nB='redis://:se://id/1@h'\nC=\"x://a:\\$@h\"\nD=x://a:${B}@h\nE=x://a:se://b/c@h\n"
    );
    let paths: Vec<_> = parse(Format::Env, text)
        .fields
        .into_iter()
        .map(|field| field.path)
        .collect();
    assert_eq!(paths[..2], [["DATABASE_PASSWORD"], ["B_PASSWORD"]]);
}

#[test]
fn a_comment_of_an_export_names_the_id() {
    let text = "# se://shop/pw\nDB='x'\n# se://not valid\nA='y'\n# se://b\n\nB='z'\n";
    for format in [Format::Env, Format::Shell] {
        let ids: Vec<_> = parse(format, text)
            .fields
            .into_iter()
            .map(|field| field.id)
            .collect();
        assert_eq!(ids, [Some("shop/pw".parse().unwrap()), None, None]);
    }
}

#[test]
fn simple_assignments_of_a_script() {
    let text = "#!/bin/sh\nexport A=x # c\r\n  B='y'\"z\"w ;\nC=\"\\\"\\\\\\$\\`\\x\"\nexport D=\n";
    check_fields(
        Format::Shell,
        text,
        &[
            (2, "A", "x"),
            (3, "B", "yzw"),
            (4, "C", "\"\\$`\\x"),
            (5, "D", ""),
        ],
    );
    assert_eq!(
        moved(Format::Shell, text, |field| field.name != "D"),
        "#!/bin/sh\nexport A=\"$(keyway get id/0)\" # c\r\n  B=\"$(keyway get id/1)\" ;\nC=\"$(keyway get id/2)\"\nexport D=\n"
    );
}

#[test]
fn other_lines_of_a_script_stay() {
    for text in [
        "A=x command\n",
        "A=x B=y\n",
        "export A\n",
        "A=$(command)\n",
        "A=`command`\n",
        "A=~/x\n",
        "A=x && y\n",
        "A=x\\\ny\n",
        "A=$'x'\n",
        "1A=x\n",
        "A+=x\n",
        "A[1]=x\n",
        "echo A=x\n",
        "echo 'one\nA=x\ntwo'\n",
        "echo \"one $(cat <<< \"two\nA=x\")\nA=y\"\n",
        "cat <<EOF\nA=x\nEOF\n",
        "cat <<-'E F' <<\\G\n\tA=x\n\tE F\nB=y\nG\n",
        "A='x\n'\n",
        "echo \\\nA=x\n",
    ] {
        check_fields(Format::Shell, text, &[]);
    }
    check_fields(Format::Shell, "A=x\\ y'z'\\''w'\n", &[(1, "A", "x yz'w")]);
    check_fields(
        Format::Shell,
        "cat <<E # '\nA=x\nE\nB=y # '\n: x#'\n'\nC=z\n",
        &[(4, "B", "y"), (7, "C", "z")],
    );
}

#[test]
fn a_script_that_is_not_understood_is_an_error() {
    for (text, line) in [
        ("A=x\necho '\nB=y\n", 2),
        ("echo \"$(\n", 1),
        ("A=x\n\ncat <<EOF\nB=y\n", 3),
        ("echo `", 1),
    ] {
        assert_eq!(
            Format::Shell.parse(text.as_bytes()).unwrap_err().line,
            line,
            "{text}"
        );
    }
    let nested = "\"$(".repeat(100_000);
    assert!(
        Format::Shell
            .parse(format!("echo {nested}").as_bytes())
            .is_err()
    );
}

#[test]
fn lines_of_a_script_that_may_hold_a_secret_are_noted() {
    let lines = |text: &str| -> Vec<usize> {
        parse(Format::Shell, text)
            .notes
            .iter()
            .map(|note| note.line)
            .collect()
    };
    let text = "A_TOKEN=x command\ncurl -H 'Bearer ghp_dummydummydummydummydummy'\nA_TOKEN=$(get)\nif x; then\nfi\nSECRET='a\nb' B=c\n";
    assert_eq!(lines(text), [1, 2, 6]);
    assert_eq!(
        lines("# A_TOKEN=x command\nset_password \"$TOKEN\"\n"),
        [0; 0]
    );
}

#[test]
fn a_netrc_has_words_in_any_order_and_on_any_line() {
    let text = "# c\nmachine a login l password p\nmachine b\n\tpassword \"q \\\" r\" # c\n\tlogin m\nmacdef init\nmachine x password no\n\ndefault password d#e\n";
    check_fields(
        Format::Netrc,
        text,
        &[
            (2, "login of a", "l"),
            (2, "password of a", "p"),
            (4, "password of b", "q \" r"),
            (5, "login of b", "m"),
            (9, "password of default", "d#e"),
        ],
    );
    let text = text.replace("# c\n\tlogin", "\n\tlogin");
    assert_eq!(
        moved(Format::Netrc, &text, |field| field.key == "password"),
        "# c\nmachine a login l password se://id/1\nmachine b\n\tpassword \"se://id/2\" \n\tlogin m\nmacdef init\nmachine x password no\n\ndefault password se://id/4\n"
    );
    let paths: Vec<_> = parse(Format::Netrc, &text)
        .fields
        .iter()
        .map(|field| field.path.join("/"))
        .collect();
    assert_eq!(
        paths,
        [
            "netrc/a/login",
            "netrc/a/l",
            "netrc/b/m",
            "netrc/b/login",
            "netrc/default"
        ]
    );
    for text in ["machine", "hello", "machine a password \"x\n\""] {
        assert_eq!(Format::Netrc.parse(text.as_bytes()).unwrap_err().line, 1);
    }
}

#[test]
fn npm_gets_a_variable_for_each_token() {
    let text = "; c\n//a.example/:_authToken=npm_x\n//b.example/x/:_password = \"eA==\"\nemail=a\n_auth=${X}\nkey=\"a\\nb\"\n";
    check_fields(
        Format::Npmrc,
        text,
        &[
            (2, "//a.example/:_authToken", "npm_x"),
            (3, "//b.example/x/:_password", "eA=="),
            (4, "email", "a"),
            (5, "_auth", "${X}"),
        ],
    );
    assert_eq!(
        moved(Format::Npmrc, text, |field| matches!(
            field.role,
            Role::Secret(_)
        )),
        "; c\n//a.example/:_authToken=${NPM_A_EXAMPLE_AUTHTOKEN}\n//b.example/x/:_password = \"${NPM_B_EXAMPLE_X_PASSWORD}\"\nemail=a\n_auth=${X}\nkey=\"a\\nb\"\n"
    );
    assert_eq!(parse(Format::Npmrc, text).notes[0].line, 6);
    assert_eq!(
        moved(Format::Npmrc, "//r/:_authToken=x", |_| true),
        "//r/:_authToken=${NPM_TOKEN}"
    );
}

#[test]
fn a_pypirc_has_a_password_for_each_index() {
    let text = "[distutils]\nindex-servers =\n    pypi\n[pypi]\r\nusername = __token__\r\npassword = x y\r\n[b]\npassword:z";
    check_fields(
        Format::Pypirc,
        text,
        &[
            (5, "[pypi] username", "__token__"),
            (6, "[pypi] password", "x y"),
            (8, "[b] password", "z"),
        ],
    );
    assert_eq!(
        moved(Format::Pypirc, text, |field| field.key == "password"),
        "[distutils]\nindex-servers =\n    pypi\n[pypi]\r\nusername = __token__\r\npassword = se://id/1\r\n[b]\npassword:se://id/2"
    );
}

#[test]
fn git_gets_urls_without_passwords() {
    let text = "https://ann:p%40%s@github.com\nhttp://b:c@h:8080/x.git\nhttps://ghp_dummydummydummydummydummy:x@h\nhttps://ann@h\n\nnone\n";
    check_fields(
        Format::GitCredentials,
        text,
        &[
            (1, "password of ann at github.com", "p@%s"),
            (2, "password of b at h:8080", "c"),
            (3, "token of h", "ghp_dummydummydummydummydummy"),
        ],
    );
    assert_eq!(
        moved(Format::GitCredentials, text, |_| true),
        "https://ann@github.com\nhttp://b@h:8080/x.git\nhttps://h\nhttps://ann@h\n\nnone\n"
    );
}

#[test]
fn aws_gets_a_command_for_each_profile() {
    let text = "[a]\nregion = x\naws_secret_access_key = s\"1\naws_access_key_id = k\r\n\n[b]\naws_access_key_id=k\naws_secret_access_key=t\naws_session_token=u";
    check_fields(
        Format::Aws,
        text,
        &[
            (
                3,
                "[a] aws_secret_access_key, aws_access_key_id",
                r#"{"Version":1,"AccessKeyId":"k","SecretAccessKey":"s\"1"}"#,
            ),
            (
                7,
                "[b] aws_access_key_id, aws_secret_access_key, aws_session_token",
                r#"{"Version":1,"AccessKeyId":"k","SecretAccessKey":"t","SessionToken":"u"}"#,
            ),
        ],
    );
    assert_eq!(
        moved(Format::Aws, text, |_| true),
        "[a]\nregion = x\ncredential_process = keyway get --value id/0\n\n[b]\ncredential_process = keyway get --value id/1\n"
    );
    for text in [
        "[a]\naws_access_key_id = k\n",
        "[a]\naws_secret_access_key = k\n",
        "[a]\naws_secret_access_key = k\naws_access_key_id = l\ncredential_process = x\n",
        "[a]\naws_secret_access_key =\naws_access_key_id = l\n",
    ] {
        let parsed = parse(Format::Aws, text);
        assert_eq!((parsed.fields.len(), parsed.notes.len()), (0, 1), "{text}");
    }
    check_fields(Format::Aws, "[a]\nregion = x\n", &[]);
}

#[test]
fn debug_shows_no_value() {
    for (format, text) in [
        (Format::Env, "A=not-a-real-token"),
        (Format::Netrc, "machine a password not-a-real-token"),
        (
            Format::Aws,
            "[a]\naws_access_key_id=a\naws_secret_access_key=not-a-real-token",
        ),
    ] {
        let text = format!("{:?}", parse(format, text));
        assert!(!text.contains("real"), "{text}");
    }
}

/// Text of words that mean something in one of the formats.
fn any_file() -> impl Strategy<Value = Vec<u8>> {
    let words = [
        "A",
        "=",
        "'",
        "\"",
        "`",
        "$",
        "$(",
        ")",
        "{",
        "}",
        "\\",
        "#",
        ";",
        " ",
        "\n",
        "\r\n",
        "\t",
        "<<",
        "EOF",
        "export ",
        "[a]",
        "machine ",
        "password ",
        "login ",
        "macdef ",
        "aws_access_key_id",
        "aws_secret_access_key",
        "://",
        ":",
        "@",
        "%4",
        "\0",
        "\u{fc}",
        "x",
        "_authToken",
    ];
    let word = prop_oneof![
        9 => proptest::sample::select(words.to_vec()).prop_map(|word| word.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 1..3),
    ];
    proptest::collection::vec(word, 0..40).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn any_file_is_read_and_rewritten_outside_of_its_values(text in any_file()) {
        for format in ALL {
            let Ok(parsed) = format.parse(&text) else {
                continue;
            };
            let mut kept = 0..0;
            let mut spans: Vec<_> = parsed.fields.iter().flat_map(|field| field.spans.clone()).collect();
            spans.sort_by_key(|span| span.start);
            for span in &spans {
                prop_assert!(kept.end <= span.start && span.start <= span.end && span.end <= text.len());
                kept = span.clone();
            }
            let id: Id = "a".parse().unwrap();
            prop_assert_eq!(&*rewrite(&text, []), &text);
            let rewritten = rewrite(&text, parsed.fields.iter().map(|field| (field, &id)));
            let outside: usize = text.len() - spans.iter().map(|span| span.len()).sum::<usize>();
            let added: usize = parsed.fields.iter().map(|field| field.replacement.text(&id).len()).sum();
            prop_assert_eq!(rewritten.len(), outside + added);
        }
    }

    #[test]
    fn an_env_file_that_was_rewritten_has_references_and_its_other_values(text in any_file()) {
        let Ok(parsed) = Format::Env.parse(&text) else {
            return Ok(());
        };
        let id: Id = "a/b".parse().unwrap();
        // An empty value is a setting, and never moved.
        let is_moved = |index: usize| {
            index.is_multiple_of(2) && !parsed.fields[index].value.expose().is_empty()
        };
        let moved = parsed.fields.iter().enumerate().filter(|(index, _)| is_moved(*index));
        let rewritten = rewrite(&text, moved.map(|(_, field)| (field, &id)));
        let again = Format::Env.parse(&rewritten).map_err(|error| TestCaseError::fail(format!("{error:?}")))?;
        prop_assert_eq!(again.fields.len(), parsed.fields.len());
        for (index, (before, after)) in parsed.fields.iter().zip(&again.fields).enumerate() {
            prop_assert!(before.name.ends_with(&after.name));
            match is_moved(index) {
                true if before.role == Role::Unknown => prop_assert_eq!(after.value.expose(), b"se://a/b"),
                true => {}
                false => prop_assert_eq!(after.value.expose(), before.value.expose()),
            }
        }
    }
}
