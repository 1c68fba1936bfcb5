namespace AttentionDistillation.Models.Hub.Families;

/// <summary>The text encoders.</summary>
internal static class EncoderFamilies
{
    private static ModelFamily Bert { get; } =
        new(
            "bert",
            [
                new(
                    "BertModel",
                    (config, file, layers) =>
                        new BertModel(
                            BertConfig.FromJson(config) with
                            {
                                AddPooler = ModelFamily.Holds(file, "pooler.dense.weight"),
                            },
                            layers
                        )
                ),
                new(
                    "BertForMaskedLM",
                    (config, _, layers) => new BertForMaskedLanguageModel(BertConfig.FromJson(config), layers)
                ),
                new(
                    "BertForSequenceClassification",
                    (config, _, layers) => new BertForSequenceClassification(BertConfig.FromJson(config), layers)
                ),
                new(
                    "BertForTokenClassification",
                    (config, _, layers) => new BertForTokenClassification(BertConfig.FromJson(config), layers)
                ),
                new(
                    "BertForMultipleChoice",
                    (config, _, layers) => new BertForMultipleChoice(BertConfig.FromJson(config), layers)
                ),
                new(
                    "BertForNextSentencePrediction",
                    (config, _, layers) => new BertForNextSentencePrediction(BertConfig.FromJson(config), layers)
                ),
                new(
                    "BertForQuestionAnswering",
                    (config, _, layers) => new BertForQuestionAnswering(BertConfig.FromJson(config), layers)
                ),
            ]
        );

    private static ModelFamily Roberta { get; } =
        new(
            "roberta",
            [
                new(
                    "RobertaModel",
                    (config, file, layers) =>
                        new RobertaModel(
                            RobertaConfig.FromJson(config) with
                            {
                                AddPooler = ModelFamily.Holds(file, "pooler.dense.weight"),
                            },
                            layers
                        )
                ),
                new(
                    "RobertaForMaskedLM",
                    (config, _, layers) => new RobertaForMaskedLanguageModel(RobertaConfig.FromJson(config), layers)
                ),
                new(
                    "RobertaForSequenceClassification",
                    (config, _, layers) => new RobertaForSequenceClassification(RobertaConfig.FromJson(config), layers)
                ),
                new(
                    "RobertaForTokenClassification",
                    (config, _, layers) => new RobertaForTokenClassification(RobertaConfig.FromJson(config), layers)
                ),
                new(
                    "RobertaForMultipleChoice",
                    (config, _, layers) => new RobertaForMultipleChoice(RobertaConfig.FromJson(config), layers)
                ),
                new(
                    "RobertaForQuestionAnswering",
                    (config, _, layers) => new RobertaForQuestionAnswering(RobertaConfig.FromJson(config), layers)
                ),
            ]
        );

    private static ModelFamily DistilBert { get; } =
        new(
            "distilbert",
            [
                new("DistilBertModel", (config, _, layers) => new DistilBertModel(DistilBertConfig.FromJson(config), layers)),
                new(
                    "DistilBertForMaskedLM",
                    (config, _, layers) => new DistilBertForMaskedLanguageModel(DistilBertConfig.FromJson(config), layers)
                ),
                new(
                    "DistilBertForSequenceClassification",
                    (config, _, layers) => new DistilBertForSequenceClassification(DistilBertConfig.FromJson(config), layers)
                ),
                new(
                    "DistilBertForTokenClassification",
                    (config, _, layers) => new DistilBertForTokenClassification(DistilBertConfig.FromJson(config), layers)
                ),
                new(
                    "DistilBertForMultipleChoice",
                    (config, _, layers) => new DistilBertForMultipleChoice(DistilBertConfig.FromJson(config), layers)
                ),
                new(
                    "DistilBertForQuestionAnswering",
                    (config, _, layers) => new DistilBertForQuestionAnswering(DistilBertConfig.FromJson(config), layers)
                ),
            ]
        );

    // Declared last: static properties are initialised in order.
    public static IReadOnlyList<ModelFamily> All { get; } = [Bert, Roberta, DistilBert];
}
