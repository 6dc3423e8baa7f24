use std::collections::BTreeSet;

/// Most ids that one look may hide: all that a label can be.
const MAX_HIDDEN: usize = 256;

/// What a viewer wants to see.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::sink) struct Look {
    pub(super) mode: Mode,
    /// Opacity of the class colours.
    pub(super) percent: u8,
    /// Ids that are shown as background.
    pub(super) hidden: BTreeSet<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mode {
    /// Colours over the frame.
    Overlay,
    /// Colours alone.
    Mask,
    /// The frame and, right of it, the overlay.
    Side,
}

impl Default for Look {
    fn default() -> Self {
        Self { mode: Mode::Overlay, percent: 50, hidden: BTreeSet::new() }
    }
}

impl Look {
    /// From the settings of an address: `mode=overlay|mask|side`, `opacity=0..100`, `hide=1,3`; those that are not there have their defaults.
    pub(in crate::sink) fn parse<'a>(settings: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Self, String> {
        let mut look = Self::default();
        for (key, value) in settings {
            match key {
                "mode" => {
                    look.mode = match value {
                        "overlay" => Mode::Overlay,
                        "mask" => Mode::Mask,
                        "side" => Mode::Side,
                        _ => return Err(format!("mode is {value:?}, expected overlay, mask or side")),
                    }
                }
                "opacity" => {
                    let percent = value.parse().ok().filter(|percent| *percent <= 100);
                    look.percent = percent.ok_or_else(|| format!("opacity is {value:?}, expected a whole number from 0 to 100"))?;
                }
                "hide" => {
                    let ids = value.split(',').filter(|id| !id.is_empty()).take(MAX_HIDDEN).map(str::parse);
                    look.hidden = ids.collect::<Result<_, _>>().map_err(|_| format!("hide is {value:?}, expected ids of classes with commas between"))?;
                }
                _ => {}
            }
        }
        Ok(look)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(text: &str) -> Result<Look, String> {
        Look::parse(text.split('&').filter_map(|pair| pair.split_once('=')))
    }

    #[test]
    fn settings_are_read_or_named() {
        assert_eq!(parse(""), Ok(Look::default()));
        let look = Look { mode: Mode::Side, percent: 0, hidden: BTreeSet::from([1, 30]) };
        assert_eq!(parse("opacity=0&mode=side&hide=30,1,1,&t=5"), Ok(look));
        for (text, named) in
            [("mode=x", "mode is \"x\""), ("opacity=101", "0 to 100"), ("opacity=-1", "0 to 100"), ("hide=1,256", "hide is"), ("hide=a", "hide is")]
        {
            assert!(parse(text).unwrap_err().contains(named));
        }
    }
}
