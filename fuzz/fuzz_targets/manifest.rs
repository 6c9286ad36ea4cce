#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    relayops_fuzz::manifest::take(data);
});
