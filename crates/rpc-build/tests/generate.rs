//! Code that is generated from small files, and errors about wrong ones.

use std::fs;
use std::path::Path;

use keyway_rpc_build::{Builder, Emit, Error, configure};
use tempfile::TempDir;

const HEAD: &str = "syntax = \"proto3\";\npackage test.v1;\n";

/// A folder with one `.proto` file and the code generated from it.
struct Project(TempDir);

impl Project {
    fn new(proto: &str) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        fs::write(folder.path().join("test.proto"), proto).expect("the folder can be written");
        Self(folder)
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn compile(&self, builder: Builder) -> Result<(), Error> {
        let out = self.path("out");
        builder
            .out_dir(out)
            .compile(&[self.path("test.proto")], &[self.0.path()])
    }

    fn generate(&self, builder: Builder) -> String {
        self.compile(builder).expect("the file is right");
        fs::read_to_string(self.path("out/test.v1.rs")).expect("the file was written")
    }
}

fn generate(proto: &str, builder: Builder) -> String {
    Project::new(&format!("{HEAD}{proto}")).generate(builder)
}

fn error(proto: &str, builder: Builder) -> String {
    let project = Project::new(&format!("{HEAD}{proto}"));
    let error = project.compile(builder).expect_err("the file is wrong");
    let shown = error.to_string();
    assert_eq!(format!("{error:?}"), shown, "build scripts print Debug");
    shown.replace(&format!("{}/", project.0.path().display()), "")
}

const SERVICE: &str = "service Shop { rpc Buy(Order) returns (Bill); }\n\
    message Order { string item = 1; Card card = 2; }\n\
    message Bill { int64 cents = 1; }\n\
    message Card { string number = 1; string holder = 2; }\n";

#[test]
fn a_syntax_error_names_its_line() {
    let error = error("message A {\n  string a = 1\n}\n", configure());
    assert!(error.starts_with("test.proto:5:1: expected"), "{error}");
}

#[test]
fn an_unknown_type_names_its_line() {
    let error = error("message A {\n  Missing a = 1;\n}\n", configure());
    assert!(error.starts_with("test.proto:4:3"), "{error}");
    assert!(error.contains("'Missing'"), "{error}");
}

#[test]
fn a_missing_import_names_its_line() {
    let error = error("import \"other.proto\";\n", configure());
    assert!(
        error.starts_with("test.proto:3:1: import 'other.proto' not found"),
        "{error}"
    );
}

#[test]
fn a_streaming_method_names_its_line_and_the_setting() {
    let proto = "message A {}\nservice S {\n  rpc One(A) returns (A);\n  rpc Many(A) returns (stream A);\n}\n";
    let error = error(proto, configure());
    assert!(
        error.starts_with("test.proto:6:3: test.v1.S.Many is a streaming method"),
        "{error}"
    );
    let code = generate(proto, configure().skip_streaming(true));
    assert!(
        code.contains("fn one(") && !code.contains("fn many("),
        "{code}"
    );
}

#[test]
fn colliding_items_of_services_name_their_line() {
    let proto = "message A {}\nmessage SServer {}\nservice S {\n  rpc One(A) returns (A);\n}\n";
    let error = error(proto, configure());
    assert!(
        error.starts_with("test.proto:5:1: a part of the service S would be"),
        "{error}"
    );
    let proto =
        "message A {}\nservice S {\n  rpc GetA(A) returns (A);\n  rpc Get_A(A) returns (A);\n}\n";
    let error = self::error(proto, configure());
    assert!(
        error.starts_with("test.proto:6:3: the method test.v1.S.Get_A"),
        "{error}"
    );
}

#[test]
fn colliding_types_and_values_name_their_line() {
    let cases = [
        (
            "message foo_bar {}\nmessage FooBar {}\n",
            "4:1: the message FooBar",
        ),
        ("message Foo {}\nenum foo { A = 0; }\n", "4:1: the enum foo"),
        (
            "message A {\n  message b {}\n  enum B { C = 0; }\n}\n",
            "5:3: the enum B",
        ),
        (
            "enum Color {\n  COLOR_RED = 0;\n  RED = 1;\n}\n",
            "5:3: the value RED",
        ),
    ];
    for (proto, expected) in cases {
        let error = error(proto, configure());
        assert!(
            error.starts_with(&format!("test.proto:{expected}")),
            "{error}"
        );
    }
    // A second name of the same value is not generated, and a setting of prost keeps the prefix.
    let alias = "enum Color { option allow_alias = true; COLOR_RED = 0; RED = 0; }\n";
    generate(alias, configure());
    let kept = configure().prost(|config| {
        config.retain_enum_prefix();
    });
    generate(cases[3].0, kept);
}

#[test]
fn an_edition_names_its_line_and_the_remedy() {
    let project = Project::new("edition = \"2023\";\npackage test.v1;\n");
    let error = project.compile(configure()).expect_err("it has an edition");
    let error = error.to_string();
    assert!(
        error.contains("test.proto:1:1: files with an edition"),
        "{error}"
    );
}

#[test]
fn an_unknown_redacted_name_is_an_error() {
    for name in ["test.v1.Crad", "test.v1.Card.pin", "Card", ""] {
        let error = error(SERVICE, configure().redact([name]));
        assert!(
            error.contains("is neither a message nor a field"),
            "{error}"
        );
    }
}

#[test]
fn a_missing_file_or_directory_is_named() {
    let folder = TempDir::new().expect("a temporary folder");
    let missing = folder.path().join("missing.proto");
    let built = configure()
        .out_dir(folder.path())
        .compile(&[&missing], &[folder.path()]);
    let error = built.expect_err("no such file").to_string();
    assert!(error.ends_with("missing.proto: no such file"), "{error}");
    let project = Project::new(HEAD);
    let built = configure()
        .out_dir(folder.path())
        .compile(&[project.path("test.proto")], &[folder.path().join("none")]);
    let error = built.expect_err("there is no such directory").to_string();
    assert!(error.contains("none: no such include directory"), "{error}");
}

#[test]
fn redacted_fields_make_their_methods_sensitive() {
    let code = generate(SERVICE, configure().redact(["test.v1.Card.number"]));
    assert!(code.contains(".sensitive()"), "{code}");
    assert!(
        code.contains(r#".field("number", &format_args!("[redacted]"))"#),
        "{code}"
    );
    assert!(code.contains(r#".field("holder", &self.holder)"#), "{code}");
    assert!(!generate(SERVICE, configure()).contains("sensitive"));
    let bill = generate(SERVICE, configure().redact(["test.v1.Bill"]));
    assert!(
        bill.contains(r#".field("cents", &format_args!("[redacted]"))"#),
        "{bill}"
    );
}

#[test]
fn the_limit_of_a_method_is_in_its_spec_and_an_unknown_method_is_an_error() {
    let limit = |method: &str| configure().max_request_size(method, 12 << 20);
    let code = generate(SERVICE, limit("test.v1.Shop.Buy"));
    assert!(code.contains(".with_max_request_size(12582912)"), "{code}");
    assert!(!generate(SERVICE, configure()).contains("max_request_size"));
    for method in ["test.v1.Shop.Sell", "Shop.Buy", "/test.v1.Shop/Buy"] {
        let error = error(SERVICE, limit(method));
        assert!(error.contains(&format!("`{method}`")), "{error}");
    }
}

#[test]
fn parts_can_be_left_out_or_depend_on_features() {
    let messages = generate(SERVICE, configure().client(Emit::Never).server(Emit::Never));
    assert!(!messages.contains("keyway_rpc"), "{messages}");
    let feature = |name: &str| Emit::IfFeature(name.to_owned());
    let both = generate(
        SERVICE,
        configure().client(feature("c")).server(feature("s")),
    );
    assert!(
        both.contains(r#"#[cfg(any(feature = "c", feature = "s"))]"#),
        "{both}"
    );
    let runtime = generate(SERVICE, configure().runtime_path("crate::rpc"));
    assert!(runtime.contains("crate::rpc::Router") || runtime.contains("crate::rpc::Route"));
    assert!(!runtime.contains("::keyway_rpc"), "{runtime}");
}

#[test]
fn a_method_with_the_name_of_a_constructor_gets_an_underscore() {
    let code = generate(
        "message A {}\nservice S { rpc New(A) returns (A); rpc WithConfig(A) returns (A); }\n",
        configure(),
    );
    assert!(code.contains("pub fn new_<R>(") && code.contains("fn new(transport: S)"));
    assert!(code.contains("pub fn with_config_<R>(") && code.contains("fn with_config("));
}

#[test]
fn descriptors_are_files_beside_the_code() {
    let project = Project::new(&format!("{HEAD}{SERVICE}"));
    let code = project.generate(configure().json(Emit::Always).include_file("mod.rs"));
    assert!(
        code.contains(r#"include_bytes!("test.v1.descriptors.bin")"#),
        "{code}"
    );
    let descriptors = fs::read(project.path("out/test.v1.descriptors.bin"));
    let descriptors = descriptors.expect("the descriptors were written");
    assert!(descriptors.windows(4).any(|window| window == b"Card"));
    let modules = fs::read_to_string(project.path("out/mod.rs")).expect("it was written");
    assert!(
        modules.contains("pub mod test {\n    pub mod v1 {\n        include!(\"test.v1.rs\");")
    );
}

#[test]
fn generated_files_are_marked_and_rewritten_only_if_they_change() {
    let project = Project::new(&format!("{HEAD}{SERVICE}"));
    let code = project.generate(configure());
    assert!(
        code.starts_with("// @generated by keyway-rpc-build"),
        "{code}"
    );
    let modified = |path: &Path| {
        let metadata = fs::metadata(path).expect("the file is there");
        metadata.modified().expect("the system keeps times")
    };
    let before = modified(&project.path("out/test.v1.rs"));
    project.generate(configure());
    assert_eq!(modified(&project.path("out/test.v1.rs")), before);
}

/// Code in comments is in any language, and is not run with the documentation.
#[test]
fn code_in_comments_is_marked_as_text() {
    let proto = "// A.\n//\n// ```\n// not Rust\n// ```\nmessage A {}\n\
                 service S {\n  // One.\n  //\n  //     not Rust\n  rpc One(A) returns (A);\n}\n";
    let code = generate(proto, configure());
    assert_eq!(code.matches("/// ```text\n").count(), 3, "{code}");
    assert_eq!(code.matches("/// ```\n").count(), 3, "{code}");
}

/// Imported files are generated as well.
#[test]
fn a_streaming_method_of_an_imported_file_names_its_line() {
    let project = Project::new(&format!("{HEAD}import \"other.proto\";\n"));
    let other =
        "syntax = \"proto3\";\nmessage A {}\nservice S { rpc Many(A) returns (stream A); }\n";
    fs::write(project.path("other.proto"), other).expect("the folder can be written");
    let error = project.compile(configure()).expect_err("it streams");
    let error = error.to_string();
    assert!(
        error.contains("other.proto:3:13: S.Many is a streaming method"),
        "{error}"
    );
}
