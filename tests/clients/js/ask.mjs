// Asks a running Parley by the AI SDK: every scenario of every provider, all at once. Prints one JSON object of what came of each.
//
//     node ask.mjs http://127.0.0.1:8000 sk-parley-…

import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embedMany, generateObject, generateText, stepCountIs, streamObject, streamText, tool } from "ai";
import { z } from "zod";

const [url, apiKey] = process.argv.slice(2);
const baseURL = `${url}/v1`;
const WAIT_MS = 30_000;

const compatible = createOpenAICompatible({
  name: "parley",
  baseURL,
  apiKey,
  includeUsage: true,
  supportsStructuredOutputs: true,
});
const openai = createOpenAI({ baseURL, apiKey });
const anthropic = createAnthropic({ baseURL, apiKey });

const providers = {
  compatible: (model) => compatible(model),
  chat: (model) => openai.chat(model),
  responses: (model) => openai.responses(model),
  messages: (model) => anthropic(model),
};

const weather = tool({
  description: "The weather of a city.",
  inputSchema: z.object({ city: z.string() }),
  execute: async ({ city }) => `sunny in ${city}`,
});
const City = z.object({ name: z.string(), people: z.number() });
const common = { maxRetries: 0, maxOutputTokens: 500 };
const steps = stepCountIs(3);

const scenarios = {
  text: async (model) => {
    const { text, finishReason, usage } = await generateText({ model, ...common, system: "Be brief.", prompt: "Grüße 🎈" });
    return { text, finishReason, usage };
  },
  stream: async (model) => {
    const result = streamText({ model, ...common, system: "Be brief.", prompt: "Grüße 🎈", onError: ({ error }) => { throw error; } });
    const pieces = [];
    for await (const piece of result.textStream) pieces.push(piece);
    return { text: pieces.join(""), pieces: pieces.length, finishReason: await result.finishReason, usage: await result.usage };
  },
  tools: async (model) => {
    const said = await generateText({ model, ...common, tools: { weather }, stopWhen: steps, prompt: "Weather?" });
    return { text: said.text, steps: said.steps.length, calls: said.steps[0].toolCalls.map((call) => call.input) };
  },
  streamedTools: async (model) => {
    const result = streamText({ model, ...common, tools: { weather }, stopWhen: steps, prompt: "Weather?" });
    const done = await result.steps;
    return { text: await result.text, steps: done.length, calls: done[0].toolCalls.map((call) => call.input) };
  },
  object: async (model) => {
    const { object } = await generateObject({ model, ...common, schema: City, prompt: "A city?" });
    return { object };
  },
  streamedObject: async (model) => {
    const result = streamObject({ model, ...common, schema: City, prompt: "A city?" });
    let parts = 0;
    for await (const _ of result.partialObjectStream) parts += 1;
    return { object: await result.object, parts };
  },
  fault: async (model) => {
    try {
      await generateText({ model, ...common, prompt: "Hello" });
    } catch (error) {
      return { status: error.statusCode, message: error.message };
    }
    return {};
  },
};

const embedders = {
  compatible: compatible.embeddingModel("ai-compatible-embed"),
  chat: openai.embedding("ai-chat-embed"),
};

async function outcomeOf(ask) {
  try {
    return await ask();
  } catch (error) {
    return { error: `${error.name}: ${error.message}` };
  }
}

setTimeout(() => process.exit(3), WAIT_MS).unref();
const asked = [];
for (const [provider, model] of Object.entries(providers)) {
  for (const [scenario, ask] of Object.entries(scenarios)) {
    asked.push([`${provider}.${scenario}`, outcomeOf(() => ask(model(`ai-${provider}-${scenario}`)))]);
  }
}
for (const [provider, model] of Object.entries(embedders)) {
  const ask = async () => {
    const { embeddings, usage } = await embedMany({ model, values: ["one two", "three"], maxRetries: 0 });
    return { embeddings, usage };
  };
  asked.push([`${provider}.embed`, outcomeOf(ask)]);
}
const answers = {};
for (const [name, outcome] of asked) answers[name] = await outcome;
console.log(JSON.stringify(answers));
