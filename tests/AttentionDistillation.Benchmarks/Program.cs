using AttentionDistillation.Benchmarks;

switch (args.FirstOrDefault())
{
    case "relation-check":
        return RelationCheck.Run(args[1..]);
    case "minilm-step":
        return MiniLmStep.Run(args[1..]);
    default:
        Console.Error.WriteLine(
            """
            Usage: AttentionDistillation.Benchmarks relation-check [--device cpu|cuda] [--only accuracy|backward|speed]
                   AttentionDistillation.Benchmarks relation-check --one floor|flash|cudnn|fused|blockwise|dense --shape BxL
                   AttentionDistillation.Benchmarks minilm-step [--device cpu|cuda] [--shapes 256x128,64x512,64x512p] [--variant NAME,...]
                                                                [--steps N] [--only step|sections|distiller|parts] [--csv FILE]
              relation-check   every form and kernel of the attention relation against float64, then times and memory
              minilm-step      a whole MiniLM step, BERT-base to 6 x 384, in bfloat16: by variant, by section, through the Distiller, by operator;
                               a p after a shape pads half of its tokens; on the CPU the models are small and only show that all of it runs
            """
        );
        return 2;
}
