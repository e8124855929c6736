//! What people write into files of the authority: settings and the key.
//!
//! Promised: no text panics; what is read and written again is read as the same.

use meshpay_authority::{KeyFile, Settings};

pub fn files(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(settings) = Settings::parse(text) {
        let again = Settings::parse(&settings.text()).expect("what was written is read");
        assert_eq!(again, settings);
    }
    if let Some(key) = KeyFile::parse(text) {
        let again = KeyFile::parse(&key.text()).expect("what was written is read");
        assert_eq!(again.journal, key.journal);
        assert_eq!(*again.text(), *key.text());
    }
}
