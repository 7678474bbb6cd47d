use super::*;

fn reason(name: &str, value: &str) -> String {
    match classify(name, value.as_bytes()) {
        Verdict::Secret(reason) => format!("secret: {reason}"),
        Verdict::Setting(reason) => format!("setting: {reason}"),
    }
}

#[track_caller]
fn check(cases: &[(&str, &str, &str)]) {
    for (name, value, expected) in cases {
        assert_eq!(reason(name, value), *expected, "{name}={value}");
    }
}

#[test]
fn names_of_secrets() {
    check(&[
        ("DB_PASSWORD", "12345678", "secret: named password"),
        ("STRIPE_KEY", "abc", "secret: named key"),
        ("stripeApiKey", "abc", "secret: named api key"),
        ("SECRET_KEY_BASE", "abc", "secret: named secret key"),
        ("JWT_SECRET", "s", "secret: named jwt"),
        ("pw", "s", "secret: named pw"),
        ("KEYBOARD", "us", "setting: no sign of a secret"),
        ("SORT_KEY_COLUMN", "name", "setting: no sign of a secret"),
        ("PASSENGERS", "4", "setting: a number"),
        ("KEY", "name", "setting: no sign of a secret"),
    ]);
}

#[test]
fn names_of_descriptions_and_public_values() {
    check(&[
        ("TOKEN_TTL", "3600", "setting: named as a description"),
        (
            "DB_PASSWORD_FILE",
            "/run/secrets/db",
            "setting: named as a description",
        ),
        ("SECRET_NAME", "shop", "setting: named as a description"),
        (
            "RECAPTCHA_PUBLIC_KEY",
            "6LeIxAcTAAAAAJcZVRqyHh71UMIEGNQ_MXjiZKhI",
            "setting: named as something public",
        ),
        (
            "GIT_COMMIT",
            "9f8e7d6c5b4a39281706f5e4d3c2b1a09f8e7d6c",
            "setting: named as something public",
        ),
        ("PORT", "3000", "setting: named as a description"),
    ]);
}

#[test]
fn tokens_are_recognised_whatever_their_name() {
    check(&[
        (
            "A",
            "ghp_dummydummydummydummydummy",
            "secret: a GitHub token",
        ),
        ("PORT", "sk_live_dummydummy", "secret: a Stripe key"),
        ("A", "AKIAIOSFODNN7DUMMY00", "secret: an AWS access key"),
        (
            "A",
            "eyJhbGciOiJub25lIn0.eyJzdWIiOiJkdW1teSJ9.dummy",
            "secret: a JSON web token",
        ),
        (
            "A",
            "-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----",
            "secret: a private key",
        ),
        (
            "A",
            "https://hooks.slack.com/services/T0/B0/dummy",
            "secret: a Slack webhook",
        ),
        ("A", "pk_live_dummydummydummy", "setting: a public key"),
        (
            "A",
            "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----",
            "setting: a public key or certificate",
        ),
        ("A", "ghp_short", "setting: no sign of a secret"),
        ("A", "eyJust.a.text", "setting: no sign of a secret"),
    ]);
}

#[test]
fn urls_are_secrets_if_they_hold_one() {
    check(&[
        (
            "DATABASE_URL",
            "postgres://shop:hunter2@localhost/shop",
            "secret: holds a password",
        ),
        (
            "DATABASE_URL",
            "postgres://shop@localhost/shop",
            "setting: a URL without a password",
        ),
        (
            "DATABASE_URL",
            "postgres://localhost/shop?user=a&password=hunter2",
            "secret: holds a password",
        ),
        (
            "DB",
            "Server=db;User Id=a;Password=hunter2;",
            "secret: holds a password",
        ),
        (
            "API",
            "https://api.example.com/v1/users",
            "setting: a URL without a password",
        ),
        (
            "HOOK",
            "https://example.com/hook/9f8e7d6c5b4a39281706f5e4d3c2b1a0",
            "setting: a URL with random text",
        ),
        (
            "DATABASE_URL",
            "postgres://shop:se://shop/pw@localhost/shop",
            "setting: a reference already",
        ),
    ]);
}

#[test]
fn values_that_are_certainly_none() {
    check(&[
        ("API_TOKEN", "", "setting: empty"),
        ("USE_TOKEN", "true", "setting: a switch"),
        (
            "API_TOKEN",
            "se://shop/token",
            "setting: a reference already",
        ),
        (
            "API_TOKEN",
            "op://vault/item/field",
            "setting: a reference of another store",
        ),
        ("API_TOKEN", "<your token>", "setting: a placeholder"),
        ("API_TOKEN", "changeme", "setting: a placeholder"),
        ("API_TOKEN", "xxxxxxxx", "setting: a placeholder"),
        ("SSH_KEY", "~/.ssh/id_ed25519", "setting: a path"),
        (
            "SSH_KEY",
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA ann",
            "setting: a public key",
        ),
    ]);
}

#[test]
fn random_text_is_a_secret() {
    check(&[
        (
            "A",
            "9f8e7d6c5b4a39281706f5e4d3c2b1a0",
            "secret: random text",
        ),
        (
            "A",
            "Zm9vYmFyMTIzNDU2Nzg5MGFiY2RlZg==",
            "secret: random text",
        ),
        ("A", "q7Xk2Lw9Rt4Vb1Nz8Yc5", "secret: random text"),
        (
            "A",
            "550e8400-e29b-41d4-a716-446655440000",
            "setting: no sign of a secret",
        ),
        (
            "A",
            "my-service-name-2024-us-east-1",
            "setting: no sign of a secret",
        ),
        ("A", "db1.internal.example.com", "setting: a host"),
        ("A", "/var/lib/app/data-2024-01-02/x", "setting: a path"),
        (
            "A",
            "the quick brown fox jumps 1 time",
            "setting: no sign of a secret",
        ),
        (
            "A",
            "aaaaaaaaaaaaaaaaaaaaaaaa1",
            "setting: no sign of a secret",
        ),
        (
            "A",
            "com.example.package.MainActivity",
            "setting: no sign of a secret",
        ),
    ]);
}

proptest::proptest! {
    #[test]
    fn any_value_is_classified_without_a_panic(name in ".{0,20}", value in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..80)) {
        classify(&name, &value);
        find_token(&value);
    }
}
