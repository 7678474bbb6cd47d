//! Metadata as the suite reports it: one entry for each name, with all values.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::suite::Header;

pub(crate) fn from_map(map: &HeaderMap) -> Vec<Header> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    map.keys()
        .map(|name| Header {
            name: name.as_str().to_owned(),
            value: map.get_all(name).iter().map(text).collect(),
        })
        .collect()
}

/// Appends the headers that the suite requests, which are valid in HTTP.
pub(crate) fn append(map: &mut HeaderMap, headers: &[Header]) {
    for header in headers {
        for value in &header.value {
            let name = HeaderName::try_from(&header.name);
            if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(value)) {
                map.append(name, value);
            }
        }
    }
}
