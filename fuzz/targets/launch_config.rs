//! The first input of a launched plugin: the launch configuration and addresses.
#![no_main]

use std::{ffi::OsStr, os::unix::ffi::OsStrExt, str};

use keyway_local::Address;
use keyway_proto::LaunchConfig;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Ok(address) = Address::from_os_str(OsStr::from_bytes(input)) {
        let text = address.to_string();
        assert!(!text.is_empty());
        // The kernel accepts every name that the parser accepts.
        address
            .to_socket_addr()
            .expect("an address is short enough");
    }
    let Ok(text) = str::from_utf8(input) else {
        return;
    };
    match LaunchConfig::from_json(text) {
        Ok(config) => {
            assert!(config.fd > 2 && !config.name.is_empty() && !config.timeout.is_zero());
            let again = LaunchConfig::from_json(&config.to_json()).expect("what was written");
            assert_eq!(again, config);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
