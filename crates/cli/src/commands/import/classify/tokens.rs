//! Secrets that are recognised by their form alone.

/// Beginnings of tokens, with the least number of bytes of a token, and what it is.
const PREFIXES: [(&str, usize, &str); 52] = [
    ("AGE-SECRET-KEY-1", 40, "an age key"),
    ("AIza", 30, "a Google API key"),
    ("AKIA", 20, "an AWS access key"),
    ("ASIA", 20, "an AWS access key"),
    ("ATATT3", 30, "an Atlassian token"),
    ("EAACEdEose0cBA", 20, "a Facebook token"),
    ("GOCSPX-", 20, "a Google client secret"),
    ("NRAK-", 20, "a New Relic key"),
    ("PMAK-", 20, "a Postman key"),
    ("SG.", 40, "a SendGrid key"),
    ("dckr_pat_", 20, "a Docker token"),
    ("dckr_oat_", 20, "a Docker token"),
    ("dop_v1_", 30, "a DigitalOcean token"),
    ("doo_v1_", 30, "a DigitalOcean token"),
    ("dp.pt.", 20, "a Doppler token"),
    ("dp.st.", 20, "a Doppler token"),
    ("figd_", 20, "a Figma token"),
    ("gho_", 20, "a GitHub token"),
    ("ghp_", 20, "a GitHub token"),
    ("ghr_", 20, "a GitHub token"),
    ("ghs_", 20, "a GitHub token"),
    ("ghu_", 20, "a GitHub token"),
    ("github_pat_", 20, "a GitHub token"),
    ("gldt-", 15, "a GitLab token"),
    ("glpat-", 15, "a GitLab token"),
    ("glrt-", 15, "a GitLab token"),
    ("glsa_", 20, "a Grafana token"),
    ("hf_", 20, "a Hugging Face token"),
    ("hvb.", 20, "a Vault token"),
    ("hvs.", 20, "a Vault token"),
    ("lin_api_", 20, "a Linear key"),
    ("npm_", 20, "an npm token"),
    ("ntn_", 20, "a Notion token"),
    ("ops_eyJ", 20, "a 1Password token"),
    ("pat-na1-", 20, "a HubSpot token"),
    ("pk_live_", usize::MAX, ""),
    ("pypi-", 20, "a PyPI token"),
    ("rk_live_", 12, "a Stripe key"),
    ("rk_test_", 12, "a Stripe key"),
    ("rubygems_", 20, "a RubyGems key"),
    ("sbp_", 20, "a Supabase token"),
    ("sgp_", 20, "a Sourcegraph token"),
    ("shpat_", 20, "a Shopify token"),
    ("shpss_", 20, "a Shopify secret"),
    ("sk-", 20, "an API key"),
    ("sk_live_", 12, "a Stripe key"),
    ("sk_test_", 12, "a Stripe key"),
    ("tskey-", 15, "a Tailscale key"),
    ("whsec_", 12, "a webhook secret"),
    ("xapp-", 15, "a Slack token"),
    ("xkeysib-", 20, "a Brevo key"),
    ("xoxb-", 15, "a Slack token"),
];

/// URLs that let everybody act who knows them.
const SECRET_URLS: [(&str, &str); 4] = [
    ("https://hooks.slack.com/services/", "a Slack webhook"),
    ("https://discord.com/api/webhooks/", "a Discord webhook"),
    ("https://discordapp.com/api/webhooks/", "a Discord webhook"),
    ("https://outlook.office.com/webhook/", "a Teams webhook"),
];

/// Returns what kind of token the whole value is.
pub(in super::super) fn token_kind(value: &[u8]) -> Option<&'static str> {
    let value = value.trim_ascii();
    if is_private_key(value) {
        return Some("a private key");
    }
    if let Some((_, kind)) = SECRET_URLS
        .iter()
        .find(|(start, _)| value.starts_with(start.as_bytes()))
    {
        return Some(kind);
    }
    if value.is_empty() || !value.iter().all(|byte| is_token_byte(*byte)) {
        return None;
    }
    if is_jwt(value) {
        return Some("a JSON web token");
    }
    let slack = value.starts_with(b"xox") && value.get(4) == Some(&b'-') && value.len() >= 15;
    let known = PREFIXES
        .iter()
        .find(|(start, min, _)| value.len() >= *min && value.starts_with(start.as_bytes()));
    known
        .map(|(_, _, kind)| *kind)
        .or(slack.then_some("a Slack token"))
}

/// Returns what kind of token is among the words of a text.
pub(in super::super) fn find_token(text: &[u8]) -> Option<&'static str> {
    let words = text.split(|byte| !is_token_byte(*byte));
    // `=` is part of tokens as padding, and stands before them in assignments.
    let parts = words.flat_map(|word| word.split(|byte| *byte == b'='));
    parts
        .into_iter()
        .find_map(token_kind)
        .or_else(|| is_private_key(text).then_some("a private key"))
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.=+/".contains(&byte)
}

fn is_private_key(value: &[u8]) -> bool {
    let contains = |text: &[u8]| value.windows(text.len()).any(|part| part == text);
    contains(b"-----BEGIN ") && contains(b"PRIVATE KEY")
}

/// A JSON web token: header, payload and signature, the first two of them JSON objects in base64url.
fn is_jwt(value: &[u8]) -> bool {
    let parts: Vec<&[u8]> = value.split(|byte| *byte == b'.').collect();
    let is_object = |part: &&[u8]| part.starts_with(b"eyJ") && part.len() > 8;
    parts.len() == 3 && parts[..2].iter().all(is_object)
}
