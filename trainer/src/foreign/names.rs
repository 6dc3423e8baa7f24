//! Where a network's tensors are in a file, and what a file holds that has none.

/// What stands before `anchor` in the names that end with it: `model.module.` and the like, shortest first. Empty if there is no such name.
pub(crate) fn prefixes<'a>(names: impl Iterator<Item = &'a str>, anchor: &str) -> Vec<String> {
    let before = names.filter_map(|name| name.strip_suffix(anchor));
    let mut found: Vec<String> = before.filter(|prefix| prefix.is_empty() || prefix.ends_with('.')).map(str::to_owned).collect();
    found.sort_by_key(|prefix| (prefix.len(), prefix.clone()));
    found
}

/// Families of networks, by a piece of a tensor's name that no other family has.
const FAMILIES: [(&str, &str); 8] = [
    ("encoder.layers.encoder_layer_0.", "a Vision Transformer of torchvision, whose names differ"),
    ("embeddings.patch_embeddings.", "a Vision Transformer of Hugging Face transformers, whose names differ"),
    ("visual.transformer.resblocks.", "a CLIP model"),
    ("relative_position_bias_table", "a Swin Transformer or a BEiT"),
    ("layer1.0.conv1.weight", "a ResNet"),
    ("layer1.0.convs.", "a ResNet"),
    ("dwconv", "a ConvNeXt"),
    ("conv_dw", "a ConvNeXt or MobileNet"),
];

/// What a file seems to hold, for a message.
pub(crate) fn family<'a>(names: impl Iterator<Item = &'a str> + Clone) -> String {
    let known = FAMILIES.iter().find(|(piece, _)| names.clone().any(|name| name.contains(piece)));
    let first: Vec<&str> = names.clone().take(3).collect();
    match known {
        Some((_, family)) => (*family).to_owned(),
        None if first.is_empty() => "no tensors at all".to_owned(),
        None => format!("an unknown network with the tensors {}, ...", first.join(", ")),
    }
}

/// Number of blocks `<prefix>0.`, `<prefix>1.`, ... without a gap.
pub(crate) fn blocks<'a>(names: impl Iterator<Item = &'a str>, prefix: &str) -> u32 {
    let indices: std::collections::BTreeSet<u32> = names.filter_map(|name| name.strip_prefix(prefix)?.split_once('.')?.0.parse().ok()).collect();
    indices.iter().zip(0..).take_while(|(found, expected)| **found == *expected).count() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_prefix_comes_first() {
        let names = ["model_ema.a.b", "model.a.b", "optimizer.xa.b", "a.c"];
        assert_eq!(prefixes(names.into_iter(), "a.b"), ["model.", "model_ema."]);
        assert_eq!(prefixes(["a.b"].into_iter(), "a.b"), [""]);
    }

    #[test]
    fn families_are_named() {
        let of = |name: &'static str| family([name, "head.weight"].into_iter());
        assert_eq!(of("model.layer1.0.conv1.weight"), "a ResNet");
        assert!(of("vit.embeddings.patch_embeddings.projection.weight").contains("Hugging Face"));
        assert!(of("x").contains("x, head.weight"));
    }

    #[test]
    fn blocks_are_counted_up_to_a_gap() {
        assert_eq!(blocks(["b.0.x", "b.1.y", "b.1.z", "b.3.x", "b.x"].into_iter(), "b."), 2);
    }
}
