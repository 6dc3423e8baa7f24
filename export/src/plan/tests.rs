#![allow(clippy::unwrap_used)]
use super::*;

fn on(device: &str) -> Plan {
    plan(&yardstick::vit_b16(), &Board::find(device).unwrap()).unwrap()
}

#[test]
fn vit_b16_has_its_published_size() {
    let plan = on("orin-nano");
    // torchvision states 86,567,656 parameters and 17.56 G multiplications with addition for vit_b_16.
    assert_eq!(plan.parameters, 86_567_656 + 12); // and the scale of each block's attention
    let products = plan.parts[&Part::Linear].operations + plan.parts[&Part::Attention].operations;
    assert!((products as f64 / 2.0 / 17.56e9 - 1.0).abs() < 0.01, "{products}");
    assert_eq!(plan.memory.weights_bytes.fp16, 2 * plan.parameters);
    let kernels: Vec<(Part, u64)> = plan.parts.iter().map(|(&part, p)| (part, p.kernels)).collect();
    assert_eq!(kernels, [(Part::Linear, 12 * 4 + 2), (Part::Attention, 12), (Part::Normalization, 25)]);
}

#[test]
fn the_published_times_lie_above_the_bound_and_not_far() {
    let plan = on("orin-nano-8gb");
    assert_eq!((plan.check.measured.fp16_ms, plan.check.measured.int8_ms), (5.68, 4.92));
    assert_eq!(plan.modes[0].times, plan.check.bound);
    let Check { bound, measured, fp16_factor, int8_factor, .. } = &plan.check;
    // What docs/export.md says about the error.
    assert!((2.1..2.3).contains(&(measured.fp16_ms / bound.fp16_ms)) && (3.2..3.4).contains(&(measured.int8_ms / bound.int8_ms)), "{bound:?}");
    assert!(int8_factor > fp16_factor, "INT8 is farther from its bound, which is why it is not assumed to be faster");
    let expected = plan.expected.unwrap();
    assert!((expected.fp16_ms - 5.68).abs() < 1e-9 && (expected.int8_ms - 4.92).abs() < 1e-9);
    let text = plan.to_string();
    assert!(text.contains("measured 5.68 ms FP16, 4.92 ms INT8 on orin-nano-8gb in MAXN_SUPER") && text.contains("expect: 5.68 ms"), "{text}");
}

#[test]
fn a_board_that_nobody_has_measured_promises_nothing() {
    for board in Board::all().unwrap() {
        let plan = plan(&yardstick::vit_b16(), &board).unwrap();
        assert_eq!(plan.expected.is_some(), board.measured.is_some(), "{}", board.name);
        for mode in &plan.modes {
            assert!(mode.times.int8_ms < mode.times.fp16_ms && mode.times.int8_ms > 0.1, "{} {mode:?}", board.name);
        }
    }
    assert!(on("thor").to_string().contains("nothing has been measured on this board"));
    assert!(on("agx-orin").modes[0].times.fp16_ms < on("orin-nano").modes[0].times.fp16_ms);
}

#[test]
fn values_that_stay_in_a_kernel_are_not_moved() {
    let plan = on("orin-nano");
    let attention = &plan.parts[&Part::Attention];
    // q, k and v in, one mixture out: 4 x 197 x 768 values of two bytes; the scores stay inside.
    assert_eq!(attention.bytes.fp16, 12 * 4 * 197 * 768 * 2 + 12 * 2);
    // The widest moment: the middle of a block, the hidden values of fc1 in and what fc2 makes of them.
    assert_eq!(plan.memory.values_bytes, (1 + 4 + 1) * 197 * 768 * 2);
}
