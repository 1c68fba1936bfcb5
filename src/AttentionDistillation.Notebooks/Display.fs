namespace AttentionDistillation.Notebooks

/// Where notebook cells send what they show.
module Display =
    let internal placeholder = ()
