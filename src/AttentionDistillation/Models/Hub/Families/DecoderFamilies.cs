namespace AttentionDistillation.Models.Hub.Families;

/// <summary>The language models that generate.</summary>
internal static class DecoderFamilies
{
    public static IReadOnlyList<ModelFamily> All { get; } =
    [
        new(
            "gpt2",
            [
                new("GPT2Model", (config, _, make) => new Gpt2Model(Gpt2Config.FromJson(config), make)),
                new("GPT2LMHeadModel", (config, _, make) => new Gpt2ForCausalLanguageModel(Gpt2Config.FromJson(config), make)),
                new(
                    "GPT2ForSequenceClassification",
                    (config, _, make) => new Gpt2ForSequenceClassification(Gpt2Config.FromJson(config), make)
                ),
                new(
                    "GPT2ForTokenClassification",
                    (config, _, make) => new Gpt2ForTokenClassification(Gpt2Config.FromJson(config), make)
                ),
                new(
                    "GPT2ForQuestionAnswering",
                    (config, _, make) => new Gpt2ForQuestionAnswering(Gpt2Config.FromJson(config), make)
                ),
            ]
        ),
        new(
            "llama",
            [
                new("LlamaModel", (config, _, make) => new LlamaModel(LlamaConfig.FromJson(config), make)),
                new("LlamaForCausalLM", (config, _, make) => new LlamaForCausalLanguageModel(LlamaConfig.FromJson(config), make)),
                new(
                    "LlamaForSequenceClassification",
                    (config, _, make) => new LlamaForSequenceClassification(LlamaConfig.FromJson(config), make)
                ),
                new(
                    "LlamaForTokenClassification",
                    (config, _, make) => new LlamaForTokenClassification(LlamaConfig.FromJson(config), make)
                ),
                new(
                    "LlamaForQuestionAnswering",
                    (config, _, make) => new LlamaForQuestionAnswering(LlamaConfig.FromJson(config), make)
                ),
            ]
        ),
        new(
            "qwen2",
            [
                new("Qwen2Model", (config, _, make) => new Qwen2Model(Qwen2Config.FromJson(config), make)),
                new("Qwen2ForCausalLM", (config, _, make) => new Qwen2ForCausalLanguageModel(Qwen2Config.FromJson(config), make)),
                new(
                    "Qwen2ForSequenceClassification",
                    (config, _, make) => new Qwen2ForSequenceClassification(Qwen2Config.FromJson(config), make)
                ),
                new(
                    "Qwen2ForTokenClassification",
                    (config, _, make) => new Qwen2ForTokenClassification(Qwen2Config.FromJson(config), make)
                ),
                new(
                    "Qwen2ForQuestionAnswering",
                    (config, _, make) => new Qwen2ForQuestionAnswering(Qwen2Config.FromJson(config), make)
                ),
            ]
        ),
        new(
            "mistral",
            [
                new("MistralModel", (config, _, make) => new MistralModel(MistralConfig.FromJson(config), make)),
                new(
                    "MistralForCausalLM",
                    (config, _, make) => new MistralForCausalLanguageModel(MistralConfig.FromJson(config), make)
                ),
                new(
                    "MistralForSequenceClassification",
                    (config, _, make) => new MistralForSequenceClassification(MistralConfig.FromJson(config), make)
                ),
                new(
                    "MistralForTokenClassification",
                    (config, _, make) => new MistralForTokenClassification(MistralConfig.FromJson(config), make)
                ),
                new(
                    "MistralForQuestionAnswering",
                    (config, _, make) => new MistralForQuestionAnswering(MistralConfig.FromJson(config), make)
                ),
            ]
        ),
    ];
}
