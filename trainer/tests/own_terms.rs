//! The parts of AMIS that are ours have no reference numbers: plain float64 loops and finite differences stand in.
#![allow(clippy::unwrap_used)]

use amis_artifacts::model_spec::{Groups, ModelSpec};
use amis_artifacts::weights::Weights;
use amis_trainer::config::{Method, Preset};
use amis_trainer::loss::cross_entropy::{boundary_weights, cross_entropy, pixel_weights};
use amis_trainer::loss::distillation::{Moved, output_distillation};
use amis_trainer::loss::pooling::grid_pooling;
use amis_trainer::model::{Mode, Precision, Segmenter, initial_weights};
use amis_trainer::step::{Losses, Totals, losses, targets};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use tch::{Device, Kind, Tensor};

fn random(shape: &[i64], seed: u64) -> Tensor {
    let mut rng = Pcg64Mcg::seed_from_u64(seed);
    let data: Vec<f64> = (0..shape.iter().product()).map(|_| rng.random_range(-2.0..2.0)).collect();
    Tensor::from_slice(&data).view(shape)
}

fn values(t: &Tensor) -> Vec<f64> {
    Vec::<f64>::try_from(t.to_kind(Kind::Double).contiguous().view(-1)).unwrap()
}

/// Central differences of a loss against its gradient, at a few places.
fn check_gradient(input: &Tensor, loss: impl Fn(&Tensor) -> Tensor) {
    let leaf = input.copy().set_requires_grad(true);
    loss(&leaf).backward();
    let gradient = values(&leaf.grad());
    let start = values(input);
    let at = |place: usize, step: f64| {
        let mut moved = start.clone();
        moved[place] += step;
        loss(&Tensor::from_slice(&moved).view(input.size().as_slice())).double_value(&[])
    };
    for place in (0..start.len()).step_by((start.len() / 23).max(1)) {
        let numeric = (at(place, 1e-5) - at(place, -1e-5)) / 2e-5;
        let difference = (numeric - gradient[place]).abs();
        assert!(difference < 1e-5 * (1.0 + numeric.abs()), "place {place}: numeric {numeric}, gradient {}", gradient[place]);
    }
    assert!(gradient.iter().any(|g| *g != 0.0));
}

#[test]
fn boundary_weights_equal_a_search_around_every_pixel() {
    let mut rng = Pcg64Mcg::seed_from_u64(5);
    let (height, width) = (13i64, 17i64);
    // Patches of classes, so that there are pixels far from any border.
    let coarse: Vec<i64> = (0..40).map(|_| [0, 0, 1, 2, 255][rng.random_range(0..5)]).collect();
    let label = |y: i64, x: i64| coarse[((y / 4) * 8 + x / 4) as usize];
    let labels: Vec<i64> = (0..height * width).map(|i| label(i / width, i % width)).collect();
    let inside = |y: i64, x: i64| (0..height).contains(&y) && (0..width).contains(&x);
    let is_border = |y: i64, x: i64| {
        let own = label(y, x);
        let other = |n: i64| n != 255 && own != 255 && (n == 0) != (own == 0);
        [(-1, 0), (1, 0), (0, -1), (0, 1)].iter().any(|(dy, dx)| inside(y + dy, x + dx) && other(label(y + dy, x + dx)))
    };
    for radius in [1, 3] {
        let found = values(&boundary_weights(&Tensor::from_slice(&labels).view([1, height, width]), radius, 0.5));
        for y in 0..height {
            for x in 0..width {
                let reach = 1 - radius..radius;
                let near = reach.clone().any(|dy| reach.clone().any(|dx| inside(y + dy, x + dx) && is_border(y + dy, x + dx)));
                let expected = if near { 1.5 } else { 1.0 };
                assert_eq!(found[(y * width + x) as usize], expected, "radius {radius}, pixel ({x}, {y})");
            }
        }
    }
}

#[test]
fn weighted_cross_entropy_is_a_sum_over_counted_pixels() {
    let (logits, weights) = (random(&[1, 3, 2, 2], 1), Tensor::from_slice(&[1.0f64, 1.5, 1.0, 1.5]).view([1, 2, 2]));
    let labels = Tensor::from_slice(&[0i64, 2, 255, 1]).view([1, 2, 2]);
    let (l, w) = (values(&logits), values(&weights));
    let mut sum = 0.0;
    for (pixel, class) in [(0, 0), (1, 2), (3, 1)] {
        let at = |c: usize| l[c * 4 + pixel];
        let normalizer = (0..3).map(|c| at(c).exp()).sum::<f64>().ln();
        sum += w[pixel] * (normalizer - at(class));
    }
    let loss = cross_entropy(&log_softmax(&logits), &labels, &weights).double_value(&[]);
    assert!((loss - sum).abs() < 1e-9, "{loss} instead of {sum}");
    assert_eq!(values(&pixel_weights(&labels, 1, 0.0)), [1.0, 1.0, 0.0, 1.0]);
    assert_eq!(values(&pixel_weights(&labels, 1, 0.5)), [1.5, 1.5, 0.0, 1.0]);
}

#[test]
fn with_all_mass_moved_the_target_at_labelled_pixels_is_the_label() {
    let (new, old) = (random(&[1, 4, 2, 3], 2).to_kind(Kind::Float), random(&[1, 3, 2, 3], 3).to_kind(Kind::Float));
    let labels = [0i64, 3, 255, 3, 1, 0];
    let (n, o) = (values(&new), values(&old));
    let mut sum = 0.0;
    for (pixel, &label) in labels.iter().enumerate() {
        let exp = |v: &[f64], c: usize| v[c * 6 + pixel].exp();
        let (new_sum, old_sum): (f64, f64) = ((0..4).map(|c| exp(&n, c)).sum(), (0..3).map(|c| exp(&o, c)).sum());
        for class in 0..4 {
            let from_old = if class < 3 { exp(&o, class) / old_sum } else { 0.0 };
            let target = if label == 3 { f64::from(u8::from(class == 3)) } else { from_old };
            sum -= target * (exp(&n, class) / new_sum).ln();
        }
    }
    let labels = Tensor::from_slice(&labels).view([1, 2, 3]);
    let found = output_distillation(&log_softmax(&new), &old.softmax(1, None::<Kind>), &labels, Moved::All).double_value(&[]);
    assert!((found - sum / 24.0).abs() < 1e-6, "{found} instead of {}", sum / 24.0);
}

/// Term 9 over the grid, written as loops.
fn grid_pooling_loops(new: &Tensor, old: &Tensor, score: &Tensor) -> f64 {
    let (batch, rows, columns) = score.size3().unwrap();
    let dim = new.size()[2];
    let (n, o, s) = (values(new), values(old), values(score));
    let mut total = 0.0;
    for b in 0..batch {
        let mut squares = 0.0;
        for scale in [1, 2, 4] {
            let cut = |side: i64, i: i64| (i * side / scale)..(((i + 1) * side + scale - 1) / scale);
            for i in 0..scale {
                for j in 0..scale {
                    let (ys, xs) = (cut(rows, i), cut(columns, j));
                    let patch = |y: i64, x: i64| (b * rows + y) * columns + x;
                    let strips: Vec<Vec<i64>> = (ys.clone().map(|y| xs.clone().map(|x| patch(y, x)).collect()))
                        .chain(xs.clone().map(|x| ys.clone().map(|y| patch(y, x)).collect()))
                        .collect();
                    for strip in strips {
                        let count = strip.len() as f64;
                        let weight = strip.iter().map(|&p| s[p as usize]).sum::<f64>() / count;
                        for d in 0..dim {
                            let mean = |v: &[f64]| strip.iter().map(|&p| v[(p * dim + d) as usize].powi(2)).sum::<f64>() / count;
                            squares += (weight * (mean(&n) - mean(&o)) / (scale * scale) as f64).powi(2);
                        }
                    }
                }
            }
        }
        total += squares.sqrt();
    }
    total
}

#[test]
fn grid_pooling_equals_loops_also_where_the_scales_do_not_divide_the_grid() {
    for (rows, columns) in [(4, 4), (5, 7)] {
        let (new, old) = (random(&[2, rows * columns, 3], 4), random(&[2, rows * columns, 3], 6));
        let score = random(&[2, rows, columns], 7).abs();
        let expected = grid_pooling_loops(&new, &old, &score);
        let found = grid_pooling(&new.to_kind(Kind::Float), &old.to_kind(Kind::Float), &score.to_kind(Kind::Float)).double_value(&[]);
        assert!((found - expected).abs() < 1e-4 * expected, "{found} instead of {expected}");
    }
    let same = random(&[1, 16, 3], 8).to_kind(Kind::Float).set_requires_grad(true);
    grid_pooling(&same, &same.detach(), &Tensor::ones([1, 4, 4], (Kind::Float, Device::Cpu))).backward();
    assert_eq!(same.grad().abs().max().double_value(&[]), 0.0, "the gradient at 0 is 0, not NaN");
}

#[test]
fn gradients_of_our_terms_equal_finite_differences() {
    let (old, score) = (random(&[1, 20, 3], 9), random(&[1, 4, 5], 10).abs());
    check_gradient(&random(&[1, 20, 3], 11), |x| grid_pooling(x, &old, &score));
    let labels = Tensor::from_slice(&[0i64, 3, 255, 3, 1, 0]).view([1, 2, 3]);
    let weights = pixel_weights(&labels, 1, 0.5).to_kind(Kind::Double);
    check_gradient(&random(&[1, 4, 2, 3], 12), |x| cross_entropy(&log_softmax(x), &labels, &weights));
    for moved in [Moved::Background, Moved::All] {
        let old = random(&[1, 3, 2, 3], 13).softmax(1, None::<Kind>);
        check_gradient(&random(&[1, 4, 2, 3], 12), |x| output_distillation(&log_softmax(x), &old, &labels, moved));
    }
}

fn log_softmax(x: &Tensor) -> Tensor {
    x.log_softmax(1, None::<Kind>)
}

fn step(new: &Segmenter, old: Option<&Segmenter>, images: &Tensor, labels: &Tensor, method: &Method) -> Losses {
    let targets = targets(old, images, labels, method);
    losses(new, images, &targets, &targets.totals, method, Mode::Eval)
}

fn spec(gab: bool) -> ModelSpec {
    ModelSpec { patch_px: 4, dim: 16, depth: 1, heads: 2, decoder_depth: 1, decoder_heads: 2, gab }
}

fn segmenter(spec: &ModelSpec, groups: &Groups, weights: &Weights, trainable: bool) -> Segmenter {
    Segmenter::new(spec, groups, [4, 4], weights, Device::Cpu, trainable).unwrap()
}

#[test]
fn every_parameter_of_the_block_learns_and_the_gate_is_reported() {
    let (groups, spec) = (Groups(vec![1, 2, 1]), spec(true));
    let model = segmenter(&spec, &groups, &initial_weights(&spec, &groups, [4, 4], 3), true);
    let images = random(&[2, 3, 16, 16], 13).to_kind(Kind::Float);
    let labels = Tensor::from_slice(&[0i64, 1, 2, 3]).repeat([128]).view([2, 16, 16]);
    let losses = step(&model, None, &images, &labels, &Method::default());
    losses.total().backward();
    let gate = losses.gate.unwrap().double_value(&[]);
    assert!(gate > 0.05 && gate < 1.0, "{gate}");
    for (name, tensor) in model.params.iter().filter(|(name, _)| name.starts_with("decoder.gab")) {
        assert!(tensor.grad().abs().max().double_value(&[]) > 0.0, "{name} gets no gradient");
    }
}

#[test]
fn without_gamma_the_block_changes_nothing() {
    let groups = Groups(vec![1, 2]);
    let mut weights = initial_weights(&spec(true), &groups, [4, 4], 3);
    let images = random(&[1, 3, 16, 16], 14).to_kind(Kind::Float);
    let masks = |gab: bool, weights: &Weights| segmenter(&spec(gab), &groups, weights, false).forward(&images, Mode::Eval).masks;
    assert_ne!(masks(true, &weights), masks(false, &weights));
    weights.get_mut("decoder.gab.gamma").unwrap().data.fill(0.0);
    assert_eq!(masks(true, &weights), masks(false, &weights));
}

#[test]
fn a_preset_has_exactly_its_terms() {
    let (old_groups, groups) = (Groups(vec![1, 2]), Groups(vec![1, 2, 1]));
    let spec = spec(false);
    let old = segmenter(&spec, &old_groups, &initial_weights(&spec, &old_groups, [4, 4], 1), false);
    let new = segmenter(&spec, &groups, &initial_weights(&spec, &groups, [4, 4], 1), true);
    let images = random(&[1, 3, 16, 16], 15).to_kind(Kind::Float);
    let labels = Tensor::from_slice(&[0i64, 3, 0, 255]).repeat([64]).view([1, 16, 16]);
    let names = |preset, old| {
        let losses = step(&new, old, &images, &labels, &Method::preset(preset));
        assert!(losses.terms.iter().all(|(_, t)| t.double_value(&[]).is_finite()));
        losses.terms.iter().map(|(n, _)| *n).collect::<Vec<_>>()
    };
    assert_eq!(names(Preset::Finetune, None), ["ce"]);
    assert_eq!(names(Preset::Mbs, Some(&old)), ["ce", "patches", "classes", "output", "orthogonality"]);
    assert_eq!(names(Preset::Amis, Some(&old)), ["ce", "patches", "classes", "classes_cosine", "pooling", "output", "orthogonality"]);
}

#[test]
fn micro_batches_add_up_to_the_whole_batch() {
    let (old_groups, groups) = (Groups(vec![1, 2]), Groups(vec![1, 2, 1]));
    let spec = spec(true);
    let old = segmenter(&spec, &old_groups, &initial_weights(&spec, &old_groups, [4, 4], 1), false);
    let images = random(&[4, 3, 16, 16], 15).to_kind(Kind::Float);
    // Samples with different numbers of ignored pixels, so that means of means differ from the mean.
    let sample = |ignored: usize| (0..256).map(|i| if i < ignored { 255 } else { [0i64, 3, 0, 0][i % 4] }).collect::<Vec<_>>();
    let labels = Tensor::from_slice(&[0, 100, 200, 256].map(sample).concat()).view([4, 16, 16]);
    let method = Method { pseudo_threshold: 0.2, ..Method::preset(Preset::Amis) };
    let gradients = |sizes: &[i64]| {
        let new = segmenter(&spec, &groups, &initial_weights(&spec, &groups, [4, 4], 2), true);
        let cut = |t: &Tensor| t.split_with_sizes(sizes, 0);
        let parts: Vec<_> = cut(&images).into_iter().zip(cut(&labels)).map(|(i, l)| (targets(Some(&old), &i, &l, &method), i)).collect();
        let totals = Totals::sum(parts.iter().map(|(t, _)| &t.totals));
        let mut loss = 0.0;
        for (targets, images) in &parts {
            let total = losses(&new, images, targets, &totals, &method, Mode::Eval).total();
            loss += total.double_value(&[]);
            total.backward();
        }
        let gradients: Vec<Tensor> = new.params.iter().map(|(_, p)| p.grad().copy()).collect();
        (loss, gradients)
    };
    let (whole_loss, whole) = gradients(&[4]);
    for sizes in [[2, 2].as_slice(), &[1, 3], &[1, 1, 1, 1]] {
        let (loss, parts) = gradients(sizes);
        assert!((loss - whole_loss).abs() < 1e-5 * whole_loss, "{sizes:?}: {loss} instead of {whole_loss}");
        for (a, b) in parts.iter().zip(&whole) {
            let difference = (a - b).abs().max().double_value(&[]);
            assert!(difference <= 1e-5 * b.abs().max().double_value(&[]).max(1e-3), "{sizes:?}: {difference}");
        }
    }
}

#[test]
fn masks_are_enlarged_as_libtorch_does_it() {
    let (groups, spec) = (Groups(vec![1, 2]), spec(false));
    let model = segmenter(&spec, &groups, &initial_weights(&spec, &groups, [4, 4], 3), false);
    // Sides of the image that the patch of 4 divides, and sides that it does not.
    for (height, width) in [(12, 20), (11, 17)] {
        let (masks, images) = (random(&[2, 3, 3, 5], 16), random(&[2, 3, height, width], 17));
        let expected = masks.upsample_bilinear2d([12, 20], false, None, None).narrow(2, 0, height).narrow(3, 0, width);
        let difference = (model.enlarge(&masks, &images) - expected).abs().max().double_value(&[]);
        assert!(difference < 1e-12, "{height} x {width}: {difference}");
    }
}

#[test]
fn other_precisions_stay_near_float32() {
    let (groups, spec) = (Groups(vec![1, 2]), spec(true));
    let weights = initial_weights(&spec, &groups, [4, 4], 3);
    let images = random(&[2, 3, 16, 16], 14).to_kind(Kind::Float);
    let masks = |precision| segmenter(&spec, &groups, &weights, false).in_precision(precision).forward(&images, Mode::Eval).masks;
    let exact = masks(Precision::Fp32);
    for (precision, tolerance) in [(Precision::Bf16, 0.05), (Precision::Fp16, 0.01)] {
        let found = masks(precision);
        let difference = (&found - &exact).abs().max().double_value(&[]);
        assert_eq!(found.kind(), Kind::Float);
        assert!(difference > 0.0 && difference < tolerance, "{precision:?} differs by {difference}");
    }
}
