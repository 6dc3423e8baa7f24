//! Three full MBS steps give the losses, labels and weights of the reference.
#![allow(clippy::unwrap_used)]

mod common;

use amis_artifacts::model_spec::{Groups, ModelSpec};
use amis_trainer::config::{Method, Preset};
use amis_trainer::model::{Mode, Segmenter};
use amis_trainer::optim::{Optimizer, Rule};
use amis_trainer::step::{losses, targets};
use common::{Golden, distance};
use tch::{Device, Tensor};

#[test]
fn three_mbs_steps_equal_the_reference() {
    let golden = Golden::read("train_steps.safetensors");
    let spec = ModelSpec { patch_px: 16, dim: 64, depth: 2, heads: 2, decoder_depth: 2, decoder_heads: 1, gab: false };
    let old = Segmenter::new(&spec, &Groups(vec![1, 3]), [4, 4], &golden.weights("old."), Device::Cpu, false).unwrap();
    let mut new = Segmenter::new(&spec, &Groups(vec![1, 3, 2]), [4, 4], &golden.weights("new_init."), Device::Cpu, true).unwrap();
    let method = Method { pseudo_threshold: 0.3, ..Method::preset(Preset::Mbs) };
    let mut optimizer = Optimizer::new(Rule::Sgd, 1e-5);
    for i in 0..3 {
        let (images, labels) = (golden.get("inputs").get(i), golden.get("labels").get(i));
        let targets = targets(Some(&old), &images, &labels, &method);
        let losses = losses(&new, &images, &targets, &targets.totals, &method, Mode::Eval);
        assert_eq!(targets.labels, golden.get(&format!("step{i}.labels_after_pseudo")), "labels of step {i}");
        let mut values: Vec<Tensor> = losses.terms.iter().map(|(_, t)| t.shallow_clone()).collect();
        values.push(losses.total());
        let reference = Vec::<f64>::try_from(golden.get(&format!("step{i}.losses")).to_kind(tch::Kind::Double)).unwrap();
        assert_eq!(values.len(), reference.len());
        for ((name, value), reference) in losses.terms.iter().map(|(n, _)| *n).chain(["total"]).zip(&values).zip(reference) {
            let value = value.double_value(&[]);
            assert!((value - reference).abs() <= 1e-4 * reference.abs(), "step {i}, {name}: {value}, reference {reference}");
        }
        new.params.zero_grad();
        losses.total().backward();
        let _ = optimizer.update(&new.params, 1e-4, &|_| 1.0).unwrap();
    }
    let after = new.params.to_weights().unwrap();
    for (name, host) in golden.weights("new_final.") {
        if name.starts_with("encoder.head") {
            continue;
        }
        let difference = distance(&Tensor::from_slice(&after[&name].data), &Tensor::from_slice(&host.data));
        assert!(difference < 1e-5, "{name} differs by {difference}");
    }
}
