using AttentionDistillation.Tensors;

namespace AttentionDistillation.Models.Hub;

/// <summary>A family of models, found by the <c>model_type</c> of a configuration.</summary>
/// <param name="ModelType">The name in <c>config.json</c>.</param>
/// <param name="Architectures">How to build each architecture, by its class name in transformers; the first is the bare model.</param>
internal sealed record ModelFamily(string ModelType, IReadOnlyList<ModelArchitecture> Architectures)
{
    /// <summary>Every family that can be loaded.</summary>
    public static IReadOnlyList<ModelFamily> All { get; } = [Bert(), Roberta(), DistilBert()];

    private static ModelFamily Bert() =>
        new(
            "bert",
            [
                new(
                    "BertModel",
                    (config, file) => new BertModel(BertConfig.FromJson(config) with { AddPooler = HasPooler(file) }, Blank)
                ),
                new("BertForMaskedLM", (config, _) => new BertForMaskedLanguageModel(BertConfig.FromJson(config), Blank)),
                new(
                    "BertForSequenceClassification",
                    (config, _) => new BertForSequenceClassification(BertConfig.FromJson(config), Blank)
                ),
                new(
                    "BertForTokenClassification",
                    (config, _) => new BertForTokenClassification(BertConfig.FromJson(config), Blank)
                ),
                new("BertForQuestionAnswering", (config, _) => new BertForQuestionAnswering(BertConfig.FromJson(config), Blank)),
            ]
        );

    private static ModelFamily Roberta() =>
        new(
            "roberta",
            [
                new(
                    "RobertaModel",
                    (config, file) => new RobertaModel(RobertaConfig.FromJson(config) with { AddPooler = HasPooler(file) }, Blank)
                ),
                new(
                    "RobertaForMaskedLM",
                    (config, _) => new RobertaForMaskedLanguageModel(RobertaConfig.FromJson(config), Blank)
                ),
                new(
                    "RobertaForSequenceClassification",
                    (config, _) => new RobertaForSequenceClassification(RobertaConfig.FromJson(config), Blank)
                ),
                new(
                    "RobertaForTokenClassification",
                    (config, _) => new RobertaForTokenClassification(RobertaConfig.FromJson(config), Blank)
                ),
                new(
                    "RobertaForQuestionAnswering",
                    (config, _) => new RobertaForQuestionAnswering(RobertaConfig.FromJson(config), Blank)
                ),
            ]
        );

    private static ModelFamily DistilBert() =>
        new(
            "distilbert",
            [
                new("DistilBertModel", (config, _) => new DistilBertModel(DistilBertConfig.FromJson(config), Blank)),
                new(
                    "DistilBertForMaskedLM",
                    (config, _) => new DistilBertForMaskedLanguageModel(DistilBertConfig.FromJson(config), Blank)
                ),
                new(
                    "DistilBertForSequenceClassification",
                    (config, _) => new DistilBertForSequenceClassification(DistilBertConfig.FromJson(config), Blank)
                ),
                new(
                    "DistilBertForTokenClassification",
                    (config, _) => new DistilBertForTokenClassification(DistilBertConfig.FromJson(config), Blank)
                ),
                new(
                    "DistilBertForQuestionAnswering",
                    (config, _) => new DistilBertForQuestionAnswering(DistilBertConfig.FromJson(config), Blank)
                ),
            ]
        );

    private static SeededLayers Blank => SeededLayers.Blank;

    /// <summary>A bare encoder has a pooler exactly when its checkpoint holds one; the configuration does not say.</summary>
    private static bool HasPooler(ICheckpoint file) =>
        file.Entries.Keys.Any(name => name.EndsWith("pooler.dense.weight", StringComparison.Ordinal));
}

/// <summary>How to build one architecture of a family with blank weights.</summary>
/// <param name="Name">The class name in transformers.</param>
/// <param name="Build">Builds it from the configuration and, for what that does not say, from the checkpoint's list of tensors.</param>
internal sealed record ModelArchitecture(string Name, Func<ConfigReader, ICheckpoint, IHubModel> Build);
