//! A pack's manifest.

use relayops_intent::loader::PackLoader;
use relayops_intent::pack::Manifest;
use relayops_intent::pack::manifest::MAX_FILE_BYTES;

/// Reads a manifest, and reads again what is written of it.
pub fn take(data: &[u8]) -> bool {
    let Ok(manifest) = Manifest::from_json(data) else { return false };
    assert!(
        manifest.files.iter().all(|file| !file.path.contains(['/', '\\']) && file.bytes <= MAX_FILE_BYTES)
    );
    let written = manifest.to_json().expect("a manifest can be written");
    let again = Manifest::from_json(written.as_bytes()).expect("what was written can be read");
    assert_eq!(
        (&again.name, &again.config, &again.files),
        (&manifest.name, &manifest.config, &manifest.files)
    );
    // Bytes that were not promised.
    let mut pack = PackLoader::new(data).expect("the manifest was taken");
    let bytes = manifest.files.first().map_or(0, |file| file.bytes).min(1 << 10) as usize;
    assert!(pack.push(0, &vec![0; bytes]).is_err() || manifest.total_bytes() > bytes as u64);
    true
}
