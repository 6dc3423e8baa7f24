#![allow(clippy::unwrap_used)]
use amis_artifacts::weights::HostTensor;
use tch::{Device, Kind};

use super::*;

/// Two parameters at 1, of 2 and 3 elements.
fn params() -> Params {
    let ones = |count| HostTensor { shape: vec![count], data: vec![1.0; count] };
    Params::from_weights(&Weights::from([("a".to_owned(), ones(2)), ("b".to_owned(), ones(3))]), Device::Cpu, true).unwrap()
}

/// Leaves these gradients, times the scale of the loss.
fn backward(optimizer: &Optimizer, params: &mut Params, a: f64, b: f64) {
    params.zero_grad();
    let loss = params.get("a", &[2]).unwrap().sum(Kind::Float) * a + params.get("b", &[3]).unwrap().sum(Kind::Float) * b;
    optimizer.scaled(loss).backward();
}

fn first(params: &Params, name: &str, len: i64) -> f64 {
    params.get(name, &[len]).unwrap().double_value(&[0])
}

#[test]
fn long_gradients_are_shortened_and_short_ones_left() {
    for (clip, factor) in [(None, 1.0), (Some(1.0), 0.1), (Some(20.0), 1.0)] {
        let (mut params, mut optimizer) = (params(), Optimizer::new(Rule::Sgd, 0.0).clipped(clip));
        // Length: sqrt(2 * 14 + 3 * 24) = 10.
        backward(&optimizer, &mut params, 14f64.sqrt(), -24f64.sqrt());
        let norm = optimizer.update(&params, 0.1, &|_| 1.0).unwrap();
        assert!((norm.double_value(&[]) - 10.0).abs() < 1e-5);
        let expected = |gradient: f64| 1.0 - 0.1 * 1.9 * factor * gradient;
        assert!((first(&params, "a", 2) - expected(14f64.sqrt())).abs() < 1e-5, "{clip:?}");
        assert!((first(&params, "b", 3) - expected(-(24f64.sqrt()))).abs() < 1e-5, "{clip:?}");
    }
}

#[test]
fn a_loss_scale_changes_nothing_but_the_way() {
    let step = |precision| {
        let (mut params, mut optimizer) = (params(), Optimizer::new(Rule::AdamW, 0.1).clipped(Some(1.0)).for_precision(precision));
        backward(&optimizer, &mut params, 3.0, 0.5);
        let norm = optimizer.update(&params, 0.1, &|_| 1.0).unwrap().double_value(&[]);
        (norm, first(&params, "a", 2), first(&params, "b", 3))
    };
    assert_eq!(step(Precision::Fp16), step(Precision::Fp32));
}

#[test]
fn infinite_gradients_are_left_out_halve_the_scale_and_end_training_by_name() {
    let (mut params, mut optimizer) = (params(), Optimizer::new(Rule::AdamW, 0.1).for_precision(Precision::Fp16));
    let scale = optimizer.scaler().unwrap().scale;
    for (bad, value) in [f64::INFINITY, f64::NAN].into_iter().enumerate() {
        backward(&optimizer, &mut params, 1.0, value);
        let _ = optimizer.update(&params, 0.1, &|_| 1.0).unwrap();
        assert_eq!((first(&params, "a", 2), optimizer.updates()), (1.0, 0));
        assert_eq!(optimizer.scaler().unwrap().scale, scale / f64::from(2 << bad));
    }
    backward(&optimizer, &mut params, 1.0, 1.0);
    let _ = optimizer.update(&params, 0.1, &|_| 1.0).unwrap();
    assert!(first(&params, "a", 2) < 1.0 && optimizer.updates() == 1);
    // The state that a resumed run needs says so.
    let mut resumed = Optimizer::new(Rule::AdamW, 0.1).for_precision(Precision::Fp16);
    resumed.restore(1, optimizer.scaler().cloned(), &optimizer.to_weights().unwrap(), &params).unwrap();
    assert_eq!((resumed.scaler(), resumed.updates()), (optimizer.scaler(), 1));
    let error = loop {
        backward(&resumed, &mut params, 1.0, f64::INFINITY);
        if let Err(error) = resumed.update(&params, 0.1, &|_| 1.0) {
            break error.to_string();
        }
    };
    assert!(error.contains("the gradient of b is not finite, 20 times in a row"), "{error}");
}
